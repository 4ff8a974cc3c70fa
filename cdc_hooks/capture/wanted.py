"""What is asked of capture: the tables, their columns and actions, and the two roles. Data only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cdc_hooks.model import Action

MIB = 1 << 20
# JSON can be six times as long as the text it is made of, and PostgreSQL makes no value above 1 GB.
MOST_ROW_BYTES = 64 * MIB

_LITERALS_AND_COMMENTS = re.compile(r"""'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_WORD = re.compile(r'"(?:[^"]|"")*"|[^\W\d][\w$]*')
# Which of a row's two states an action has.
_LACKS = {Action.INSERT: "old", Action.DELETE: "new"}


@dataclass(frozen=True)
class Roles:
    """Who owns the schema ``cdc_hooks`` (a role that nobody logs in as), and who the daemon connects as."""

    daemon: str
    owner: str = "cdc_hooks_owner"


@dataclass(frozen=True)
class Wanted:
    """The capture of one table, as the configuration wants it."""

    table: str
    """As SQL names it, with its schema: ``public.orders``, ``public."Order Items"``."""
    actions: frozenset[Action]
    columns: tuple[str, ...] | None = None
    """None: all columns."""
    named: tuple[str, ...] = ()
    """Columns that somebody asks for by name; all of ``columns``, and more where these are all."""
    exclude: tuple[str, ...] = ()
    key: tuple[str, ...] | None = None
    """None: the primary key."""
    when: str | Mapping[Action, str] | None = None
    """An SQL condition over NEW and OLD. One for all: an action that has no NEW (or no OLD) is captured without it."""
    level: Literal["row", "statement"] = "row"
    max_row_bytes: int = MIB

    def condition(self, action: Action) -> str | None:
        """The condition of this action's trigger."""
        if self.when is None or action is Action.TRUNCATE:
            return None
        if isinstance(self.when, str):
            return self.when if self.condition_fits(action) else None
        return self.when.get(action)

    def condition_fits(self, action: Action) -> bool:
        """False where the one condition for all names a state of the row that this action does not have."""
        return not isinstance(self.when, str) or _LACKS.get(action) not in states_named(self.when)


def states_named(condition: str) -> frozenset[str]:
    """``new``, ``old`` or both: what an SQL condition speaks of, outside of literals and comments."""
    bare = _LITERALS_AND_COMMENTS.sub(" ", condition)
    words = {word[1:-1] if word.startswith('"') else word.lower() for word in _WORD.findall(bare)}
    return frozenset(words & {"new", "old"})
