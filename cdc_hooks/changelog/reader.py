"""Reading the change log, page by page."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import translated
from cdc_hooks.changelog.stretch import Columns, Kinds, Stretch, columns_of
from cdc_hooks.changelog.window import MAX_PAGE_BYTES, MAX_PAGE_ROWS, Page, Window, segment_end, window_of
from cdc_hooks.sql import queries

_SQL = queries("changelog")
_NO_LIMIT = 2**62
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
        self._on_read = on_read
        self._shared: OrderedDict[_Key, asyncio.Task[_Fetched]] = OrderedDict()
        self.serve(webhooks)

    def serve(self, webhooks: int) -> None:
        """So many read from now on. Each may hold two pages: many of them share the memory that few may use."""
        self._max_rows = max(1_000, min(MAX_PAGE_ROWS, 80_000 // max(1, webhooks)))
        self._max_bytes = max(MAX_PAGE_BYTES // 8, min(MAX_PAGE_BYTES, 8 * MAX_PAGE_BYTES // max(1, webhooks)))
        self._max_shared = 2 * webhooks + 2

    async def open_window(self, lo_tick: int, hi_tick: int) -> Window:
        with translated():
            cursor = await self._live.execute(_SQL["open_window"], {"lo": lo_tick, "hi": hi_tick})
            row = await cursor.fetchone()
        if row is None:
            raise LookupError(f"tick {lo_tick} or {hi_tick} is not in cdc_hooks.tick")
        return window_of(row)

    async def page(self, window: Window, after_id: int) -> Page:
        """The next page of a window after an id, limited in rows and bytes; ``last`` at the window's end.

        The page that follows is asked for at once, so that the server reads it while this one is decoded and delivered.
        """
        # Shielded: one webhook that stops waiting does not take the page away from the others.
        fetched = await asyncio.shield(self._fetching(window, after_id))
        if fetched.to_id < window.upto_id:
            self._fetching(window, fetched.to_id)
            await asyncio.sleep(0)  # lets the question be sent, before we are busy
        return fetched.page()

    async def claimed_page(self, window: Window, after_id: int, to_id: int) -> Page:
        """A page whose bounds are fixed already: all of it, whatever the limits are today."""
        columns = await self._read(window, after_id, to_id, _NO_LIMIT, _NO_LIMIT)
        return _Fetched(window, after_id, to_id, columns, self._on_read).page()

    def _fetching(self, window: Window, after_id: int) -> asyncio.Task[_Fetched]:
        key = (window.lo_tick, window.hi_tick, after_id)
        task = self._shared.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = self._shared[key] = asyncio.create_task(self._fetch(window, after_id))
            # Nobody may ever come for it: then it is no error that it failed.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            while len(self._shared) > self._max_shared:
                self._shared.popitem(last=False)
        return task

    async def _fetch(self, window: Window, after_id: int) -> _Fetched:
        start = after_id
        while after_id < window.upto_id:
            upto = min(window.upto_id, segment_end(after_id + 1))
            columns = await self._read(window, after_id, upto, self._max_rows, self._max_bytes)
            if columns.length:
                return _Fetched(window, start, columns.last_id if columns.is_full else upto, columns, self._on_read)
            after_id = upto
            if after_id < window.upto_id:
                after_id = await self._leap(after_id, window.upto_id)
        return _Fetched(window, start, window.upto_id, None, self._on_read)

    async def _leap(self, after_id: int, upto_id: int) -> int:
        """Over ids that are not in the log any more: just before the next one that is."""
        with translated():
            cursor = await self._history.execute(_SQL["next_id"], {"after_id": after_id})
            row = await cursor.fetchone()
        assert row is not None
        return upto_id if row[0] is None else max(after_id, min(upto_id, row[0] - 1))

    async def _read(self, window: Window, after_id: int, upto_id: int, max_rows: int, max_bytes: int) -> Columns:
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
        columns = columns_of(cursor.pgresult)
        assert columns is not None
        return columns


class _Fetched:
    """A page that has come. It is decoded when somebody wants it, once."""

    def __init__(
        self, window: Window, after_id: int, to_id: int, columns: Columns | None, on_read: Callable[[Kinds], None]
    ) -> None:
        self.to_id = to_id
        self._window = window
        self._after_id = after_id
        self._columns = columns
        self._on_read = on_read
        self._page: Page | None = None

    def page(self) -> Page:
        if self._page is None:
            stretch = Stretch([], {}) if self._columns is None else self._columns.decode()
            self._on_read(stretch.kinds)
            last = self.to_id >= self._window.upto_id
            self._page = Page(self._window, self._after_id, self.to_id, last, stretch.changes, stretch.kinds)
            self._columns = None  # not kept twice
        return self._page
