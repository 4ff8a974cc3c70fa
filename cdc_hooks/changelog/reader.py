"""Reading the change log, page by page."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import translated
from cdc_hooks.changelog.stretch import Kinds, Stretch, decode
from cdc_hooks.changelog.window import MAX_PAGE_BYTES, MAX_PAGE_ROWS, Page, Window, segment_end, window_of
from cdc_hooks.sql import queries

_SQL = queries("changelog")
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
        on_read: Callable[[Kinds], None] = lambda _kinds: None,
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
        stretch = await self._read(window, after_id, to_id, _NO_LIMIT, _NO_LIMIT)
        return Page(window, after_id, to_id, to_id >= window.upto_id, stretch.changes)

    async def _read_next(self, window: Window, after_id: int) -> Page:
        start = after_id
        while after_id < window.upto_id:
            upto = min(window.upto_id, segment_end(after_id + 1))
            stretch = await self._read(window, after_id, upto, self._max_rows, self._max_bytes)
            if stretch.changes:
                if stretch.is_full:
                    upto = stretch.changes[-1].id
                return Page(window, start, upto, upto >= window.upto_id, stretch.changes)
            after_id = upto
            if after_id < window.upto_id:
                after_id = await self._leap(after_id, window.upto_id)
        return Page(window, start, window.upto_id, True, [])

    async def _leap(self, after_id: int, upto_id: int) -> int:
        """Over ids that are not in the log any more: just before the next one that is."""
        with translated():
            cursor = await self._history.execute(_SQL["next_id"], {"after_id": after_id})
            row = await cursor.fetchone()
        assert row is not None
        return upto_id if row[0] is None else max(after_id, min(upto_id, row[0] - 1))

    async def _read(self, window: Window, after_id: int, upto_id: int, max_rows: int, max_bytes: int) -> Stretch:
        connection = self._live if upto_id - after_id <= _SHORT else self._history
        parameters = {
            "after_id": after_id,
            "upto_id": upto_id,
            "first_xid": str(window.first_xid),
            "snapshot": window.snapshot,
            "late": [str(xid) for xid in window.late],
            "max_rows": max_rows,
            "max_bytes": max_bytes,
        }
        with translated():
            cursor = await connection.execute(_SQL["page"], parameters)
        assert cursor.pgresult is not None
        stretch = decode(cursor.pgresult)
        assert stretch is not None
        self._on_read(stretch.kinds)
        return stretch
