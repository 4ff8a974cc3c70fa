"""Reading the change log, page by page."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import translated
from cdc_hooks.changelog.window import MAX_PAGE_BYTES, MAX_PAGE_ROWS, Page, Window, segment_end, slot_of
from cdc_hooks.model import Action, Change
from cdc_hooks.sql import queries

_SQL = queries("changelog")
_ACTIONS = {b"I": Action.INSERT, b"U": Action.UPDATE, b"D": Action.DELETE, b"T": Action.TRUNCATE}
_FULL = len(Change._fields)
"""The column after those of a change: whether the limit of bytes is reached with this row."""
_NO_LIMIT = 2**62
_SHARED_PAGES = 4
_SHORT = 20_000
"""Windows of at most so many ids are read on a connection of their own, so that catching up does not hold them up."""

_Key = tuple[int, int, int]


class Reader:
    """Pages of windows. Webhooks that stand at the same place share one read."""

    def __init__(
        self,
        live: AsyncConnection[Any],
        history: AsyncConnection[Any],
        *,
        webhooks: int = 1,
        on_read: Callable[[list[Change]], None] = lambda _changes: None,
    ) -> None:
        self._live = live
        self._history = history
        # Each webhook may hold two pages: many of them share the memory that few may use.
        self._max_rows = max(1_000, min(MAX_PAGE_ROWS, 80_000 // max(1, webhooks)))
        self._max_bytes = max(MAX_PAGE_BYTES // 8, min(MAX_PAGE_BYTES, 8 * MAX_PAGE_BYTES // max(1, webhooks)))
        self._on_read = on_read
        self._shared: OrderedDict[_Key, asyncio.Task[Page]] = OrderedDict()

    async def open_window(self, lo_tick: int, hi_tick: int) -> Window:
        with translated():
            cursor = await self._live.execute(_SQL["open_window"], {"lo": lo_tick, "hi": hi_tick})
            row = await cursor.fetchone()
        if row is None:
            raise LookupError(f"tick {lo_tick} or {hi_tick} is not in cdc_hooks.tick")
        return window_of(row)

    async def page(self, window: Window, after_id: int) -> Page:
        """The next page of a window after an id, limited in rows and bytes; ``last`` at the window's end."""
        key = (window.lo_tick, window.hi_tick, after_id)
        task = self._shared.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(self._read_next(window, after_id))
            self._shared[key] = task
            while len(self._shared) > _SHARED_PAGES:
                self._shared.popitem(last=False)
        # Shielded: one webhook that stops waiting does not take the page away from the others.
        return await asyncio.shield(task)

    async def claimed_page(self, window: Window, after_id: int, to_id: int) -> Page:
        """A page whose bounds are fixed already: all of it, whatever the limits are today."""
        changes, _ = await self._read(window, after_id, to_id, _NO_LIMIT, _NO_LIMIT)
        return Page(window, after_id, to_id, to_id >= window.upto_id, changes)

    async def _read_next(self, window: Window, after_id: int) -> Page:
        start = after_id
        while after_id < window.upto_id:
            upto = min(window.upto_id, segment_end(after_id + 1))
            changes, full = await self._read(window, after_id, upto, self._max_rows, self._max_bytes)
            if changes:
                if full:
                    upto = changes[-1].id
                return Page(window, start, upto, upto >= window.upto_id, changes)
            after_id = upto
            if after_id < window.upto_id:
                after_id = await self._leap(after_id, window.upto_id)
        return Page(window, start, window.upto_id, True, [])

    async def _leap(self, after_id: int, upto_id: int) -> int:
        """Over ids that are not in the log any more: just before the next one that is."""
        with translated():
            cursor = await self._history.execute(_SQL["next_id"], {"after_id": after_id})
            row = await cursor.fetchone()
        return upto_id if row is None else max(after_id, min(upto_id, row[0] - 1))

    async def _read(
        self, window: Window, after_id: int, upto_id: int, max_rows: int, max_bytes: int
    ) -> tuple[list[Change], bool]:
        connection = self._live if upto_id - after_id <= _SHORT else self._history
        parameters = {
            "slot": slot_of(upto_id),
            "after_id": after_id,
            "upto_id": upto_id,
            "first_xid": str(window.first_xid),
            "all_below": str(window.all_below),
            "snapshot": window.snapshot,
            "late": [str(xid) for xid in window.late],
            "max_rows": max_rows,
            "max_bytes": max_bytes,
        }
        with translated():
            cursor = await connection.execute(_SQL["page"], parameters)
        result = cursor.pgresult
        assert result is not None
        changes = _changes(result)
        self._on_read(changes)
        # The server counts the bytes, in its own encoding: what it says of the last row counts.
        full = bool(changes) and (len(changes) >= max_rows or result.get_value(len(changes) - 1, _FULL) == b"t")
        return changes, full


def window_of(row: tuple[Any, ...]) -> Window:
    lo_tick, hi_tick, first_xid, snapshot, late, after_id, upto_id = row
    return Window(lo_tick, hi_tick, first_xid, snapshot, tuple(late), after_id, upto_id)


def _changes(result: Any) -> list[Change]:
    """Straight from libpq's result: the row's bytes as PostgreSQL sent them, never decoded."""
    value = result.get_value
    new = tuple.__new__  # what NamedTuple's constructor comes to, at half its price
    names: dict[bytes, str] = {}
    changes: list[Change] = []
    append = changes.append
    for row in range(result.ntuples):
        raw_table = value(row, 1)
        table = names.get(raw_table)
        if table is None:
            table = names[raw_table] = raw_table.decode()
        fields = (
            int(value(row, 0)),
            table,
            _ACTIONS[value(row, 2)],
            value(row, 3),
            value(row, 4),
            value(row, 5),
            value(row, 6),
            value(row, 7) is not None,
        )
        append(new(Change, fields))
    return changes
