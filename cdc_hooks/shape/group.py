"""Changes of a lane become batches of one table and one action each, without reordering the changes of a row."""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING

from cdc_hooks.model import Action, Batch, Change
from cdc_hooks.shape.envelope import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_hooks.shape.webhook import Shape

_TABLE, _ACTION = (itemgetter(Change._fields.index(field)) for field in ("table", "action"))


class _Open:
    """A batch in the making."""

    __slots__ = ("changes", "place", "room")

    def __init__(self, place: int, room: int) -> None:
        self.place = place  # in the lane
        self.room = room  # bytes
        self.changes: list[Change] = []


# Stands where a kind has no open batch: it comes before everything, so nothing is put there.
_NONE_OPEN = _Open(-1, -1)


class _Kind:
    """The batches of one table and action, and which of them can still take a change.

    The first open batch at or after a place is found by bisection and by following ``_next``, which jumps over closed
    batches and is shortened as it is walked: near-linear also where a page alternates between thousands of batches.
    """

    def __init__(self, room: int) -> None:
        self.first = _NONE_OPEN
        self._room = room
        self._batches: list[_Open] = []
        self._places: list[int] = []  # of the batches, ascending
        self._next: list[int] = [0]  # own index while open; one more entry than there are batches

    def find(self, after: int, size: int, lane: list[_Open]) -> _Open:
        """The earliest open batch at ``after`` or later that has room, or a new one at the lane's end."""
        n = self._open_from(bisect_left(self._places, after))
        if size > self._room:
            n = len(self._batches)  # larger than any batch may be: it goes alone, and need not try the open ones
        # A batch without room for this change is closed for all: else a page of large and small rows would be tried
        # against every batch, each time.
        while n < len(self._batches) and self._batches[n].room < size:
            self.close(self._batches[n])
            n = self._open_from(n)
        if n == len(self._batches):
            self._begin(lane)
        return self._batches[n]

    def close(self, batch: _Open) -> None:
        n = bisect_left(self._places, batch.place)
        self._next[n] = n + 1
        if batch is self.first:
            following = self._open_from(n)
            self.first = self._batches[following] if following < len(self._batches) else _NONE_OPEN

    def _begin(self, lane: list[_Open]) -> None:
        batch = _Open(len(lane), self._room)
        lane.append(batch)
        self._batches.append(batch)
        self._places.append(batch.place)
        self._next.append(len(self._batches))
        if self.first is _NONE_OPEN:
            self.first = batch

    def _open_from(self, n: int) -> int:
        """The index of the first open batch from ``n`` on, or the number of batches."""
        following = self._next
        while following[n] != n:
            following[n] = following[following[n]]
            n = following[n]
        return n


class _Table:
    """Where the rows of one table stand in the lane."""

    def __init__(self) -> None:
        self.kinds: dict[Action, _Kind] = {}
        self.rows: dict[bytes | None, int] = {}  # place of the batch with the row's last change; key None is a row, too
        self.barrier = 0  # the last truncate: nothing goes before it


def group(
    changes: Sequence[Change], sizes: Sequence[int], shape: Shape, alike: tuple[str, Action] | None = None
) -> list[Batch]:
    """Batches in the order in which they must be delivered; ``sizes``: the bytes of each change in the body.

    ``alike``: the table and action of all, if they are known to be the same: that makes it quicker.
    """
    if alike is not None and _fit(changes, sizes, shape, alike[0]):
        return slices(changes, alike, shape.max_events)
    max_events = shape.max_events
    lane: list[_Open] = []
    tables: dict[str, _Table] = {}
    last_name, last_action = "", None
    for change, size in zip(changes, sizes, strict=True):
        _, name, action, key, old_key, _, _, _ = change
        if action is not last_action or name != last_name:  # looked up once for neighbours of one kind
            table = tables.get(name) or tables.setdefault(name, _Table())
            kind = table.kinds.get(action) or table.kinds.setdefault(action, _new_kind(name, shape))
            rows = table.rows
            last_name, last_action = name, action
        after = rows.get(key, table.barrier)
        if action is Action.TRUNCATE:
            after = max(rows.values(), default=table.barrier)
        elif old_key is not None:
            after = max(after, rows.get(old_key, table.barrier))

        batch = kind.first
        if batch.place < after or batch.room < size:
            batch = kind.find(after, size, lane)
        batch.changes.append(change)
        batch.room -= size
        if len(batch.changes) >= max_events:
            kind.close(batch)

        if action is Action.TRUNCATE:
            table.barrier = batch.place
            rows.clear()
        else:
            rows[key] = batch.place
            if old_key is not None:
                rows[old_key] = batch.place
    return [Batch(batch.changes[0].table, batch.changes[0].action, tuple(batch.changes)) for batch in lane]


def _new_kind(table: str, shape: Shape) -> _Kind:
    return _Kind(shape.max_bytes - FORMATS[shape.format].envelope_size(shape, table))


def one_kind(changes: Sequence[Change]) -> tuple[str, Action] | None:
    """The table and action of all changes (there is one at least), if they are the same for all."""
    table, action = changes[0].table, changes[0].action
    # list.count compares by identity first, far quicker than any loop of ours.
    of_table, of_action = list(map(_TABLE, changes)).count(table), list(map(_ACTION, changes)).count(action)
    return (table, action) if of_table == of_action == len(changes) else None


def slices(changes: Sequence[Change], kind: tuple[str, Action], max_events: int) -> list[Batch]:
    """Batches of changes of one kind, where all fit: the same ones as if each was put where it belongs."""
    return [Batch(*kind, tuple(changes[at : at + max_events])) for at in range(0, len(changes), max_events)]


def _fit(changes: Sequence[Change], sizes: Sequence[int], shape: Shape, table: str) -> bool:
    room = shape.max_bytes - FORMATS[shape.format].envelope_size(shape, table)
    return all(sum(sizes[at : at + shape.max_events]) <= room for at in range(0, len(changes), shape.max_events))
