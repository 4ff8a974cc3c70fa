"""A stretch of the change log as the server sends it: one row, in which each value holds a column of all changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from cdc_hooks.errors import DatabaseError
from cdc_hooks.model import Action, Change

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

_ACTIONS = {b"I": Action.INSERT, b"U": Action.UPDATE, b"D": Action.DELETE, b"T": Action.TRUNCATE}
_BETWEEN = b"\x1f"
_COLUMNS = 9
_new_change = partial(tuple.__new__, Change)  # what NamedTuple's constructor comes to, at a fraction of its price


Kinds = dict[tuple[str, Action], int]
"""How many changes there are of each table and action."""


class Stretch(NamedTuple):
    """Changes in order of their ids; ``is_full``: a limit ended it, there may be more before its upper bound."""

    changes: list[Change]
    kinds: Kinds
    is_full: bool


def decode(result: PGresult, first_column: int = 0) -> Stretch | None:
    """A row's ``cdc_hooks.page``, which begins at a column; None if it is null. What is JSON is not parsed.

    Raises DatabaseError if the columns are not equally long: somebody else has written to the log.
    """
    length, is_full, ids, kinds, keys, old_keys, times, data, truncated = (
        result.get_value(0, column) for column in range(first_column, first_column + _COLUMNS)
    )
    if length is None:
        return None
    if not ids or not kinds or not times:
        return Stretch([], {}, False)
    count = int(length)
    raw_kinds = kinds.split(_BETWEEN)
    alike = raw_kinds.count(raw_kinds[0]) == count  # as most pages are: what follows is then done once, not for each
    counts = {raw_kinds[0]: count} if alike else Counter(raw_kinds)
    try:
        known = {raw: (raw[1:].decode(), _ACTIONS[raw[:1]]) for raw in counts}
        tables, actions = (
            repeat(known[raw_kinds[0]][n], count) if alike else [known[raw][n] for raw in raw_kinds] for n in (0, 1)
        )
        columns: tuple[Iterable[Any], ...] = (
            map(int, ids.split(_BETWEEN)),
            tables,
            actions,
            _values(keys, count),
            _values(old_keys, count),
            times.split(_BETWEEN),
            _values(data, count),
            map(bool, _values(truncated, count)),
        )
        changes = list(map(_new_change, zip(*columns, strict=True)))
    except (KeyError, ValueError) as error:
        raise DatabaseError(
            "the change log holds a row that capture did not write (a control character in it)",
            hint="find out who else writes to cdc_hooks.change: only the capture functions should",
        ) from error
    return Stretch(changes, {known[raw]: number for raw, number in counts.items()}, is_full == b"t")


def _values(column: bytes | None, count: int) -> Iterable[bytes | None]:
    """A column's values. Nothing between two separators is null; a column that is null itself has no values at all."""
    return repeat(None, count) if column is None else [value or None for value in column.split(_BETWEEN)]
