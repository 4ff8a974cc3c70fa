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

Kinds = dict[tuple[str, Action], int]
"""How many changes there are of each table and action."""

_ACTIONS = {b"I": Action.INSERT, b"U": Action.UPDATE, b"D": Action.DELETE, b"T": Action.TRUNCATE}
_BETWEEN = b"\x1f"
_TIME_BYTES = len("2026-11-21T10:00:00.123456Z")
_new_change = partial(tuple.__new__, Change)  # what NamedTuple's constructor comes to, at a fraction of its price


class Stretch(NamedTuple):
    """Changes in order of their ids."""

    changes: list[Change]
    kinds: Kinds


class Columns(NamedTuple):
    """A ``cdc_hooks.page`` as it came. ``is_full``: a limit ended it, there may be more before its upper bound."""

    length: int
    is_full: bool
    ids: bytes
    kinds: bytes
    keys: bytes | None
    old_keys: bytes | None
    times: bytes
    data: bytes | None
    truncated: bytes | None

    @property
    def last_id(self) -> int:
        return int(self.ids[self.ids.rfind(_BETWEEN) + 1 :])

    def decode(self) -> Stretch:
        """The changes; what is JSON in them is not parsed.

        Raises DatabaseError if the columns are not equally long: somebody else has written to the log.
        """
        count = self.length
        if not count:
            return Stretch([], {})
        raw_kinds = self.kinds.split(_BETWEEN)
        alike = raw_kinds.count(raw_kinds[0]) == count  # as most pages are: then nothing is looked up for each
        counts = {raw_kinds[0]: count} if alike else Counter(raw_kinds)
        try:
            known = {raw: (raw[1:].decode(), _ACTIONS[raw[:1]]) for raw in counts}
            tables, actions = (
                repeat(known[raw_kinds[0]][n], count) if alike else [known[raw][n] for raw in raw_kinds] for n in (0, 1)
            )
            columns: tuple[Iterable[Any], ...] = (
                map(int, self.ids.split(_BETWEEN)),
                tables,
                actions,
                _values(self.keys, count),
                _values(self.old_keys, count),
                _times(self.times),
                _values(self.data, count),
                map(bool, _values(self.truncated, count)),
            )
            changes = list(map(_new_change, zip(*columns, strict=True)))
        except (KeyError, ValueError) as error:
            what = (
                f"the action {error.args[0].decode(errors='replace')}"
                if isinstance(error, KeyError)
                else "a control character"
            )
            raise DatabaseError(
                f"the change log holds a row that capture did not write ({what} in it)",
                hint="find out who else writes to cdc_hooks.change: only the capture functions should",
            ) from error
        return Stretch(changes, {known[raw]: number for raw, number in counts.items()})


def columns_of(result: PGresult, first: int = 0) -> Columns | None:
    """Those of a row whose ``cdc_hooks.page`` begins at a column; None if it is null."""
    length, is_full, *rest = (result.get_value(0, first + n) for n in range(len(Columns._fields)))
    if length is None:
        return None
    ids, kinds, keys, old_keys, times, data, truncated = rest
    return Columns(
        int(length), is_full == b"t", ids or b"", kinds or b"", keys, old_keys, times or b"", data, truncated
    )


def _values(column: bytes | None, count: int) -> Iterable[bytes | None]:
    """A column's values. Nothing between two separators is null; a column that is null itself has no values at all."""
    return repeat(None, count) if column is None else [value or None for value in column.split(_BETWEEN)]


def _times(column: bytes) -> list[bytes]:
    """``2026-11-21 10:00:00.1234`` becomes ``2026-11-21T10:00:00.123400Z``; the server would take longer to do it."""
    times = (column.replace(b" ", b"T").replace(_BETWEEN, b"Z\x1f") + b"Z").split(_BETWEEN)
    return [at if len(at) == _TIME_BYTES else _padded(at) for at in times]


def _padded(at: bytes) -> bytes:
    seconds, _, micros = at[:-1].partition(b".")
    return b"%b.%bZ" % (seconds, micros.ljust(6, b"0"))
