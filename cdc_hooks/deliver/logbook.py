"""What is finished with, and what failed, written in groups behind the couriers' backs.

Records wait in memory for half a second at most, and are lost with the process: of what they say nothing follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from cdc_hooks.errors import DatabaseError, Superseded

EVERY_S = 0.5
GROUP = 1000
MAX_RECORDS = 10_000
MAX_BYTES = 16 * 2**20

log = structlog.get_logger()


class Outage:
    """Says once that the ledger cannot be written, and once that it can be again."""

    def __init__(self, what: str, on_lost: Callable[[int], None]) -> None:
        self._what = what
        self._on_lost = on_lost
        self._lost = 0

    def lost(self, count: int, error: str) -> None:
        self._on_lost(count)
        if not self._lost:
            log.error("ledger_not_written", what=self._what, error=error, hint="deliveries go on")
        self._lost += count

    def over(self) -> None:
        if self._lost:
            log.warning("ledger_written_again", what=self._what, lost=self._lost)
            self._lost = 0


class Book:
    """Gathers records and gives them to ``write``, many at a time, in the order in which they came.

    They are texts already: thousands of tuples would be looked through by the garbage collector again and again.
    """

    def __init__(self, write: Callable[[list[str]], Awaitable[None]], outage: Outage) -> None:
        self._write: Callable[[list[str]], Awaitable[None]] = write
        self._outage = outage
        self._records: list[str] = []
        self._sizes: list[int] = []
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None

    def add(self, record: str) -> None:
        """Never waits; a record for which there is no room is lost."""
        size = len(record)
        if len(self._records) >= MAX_RECORDS or self._bytes + size > MAX_BYTES:
            self._outage.lost(1, "the database takes the records more slowly than they come")
            return
        self._records.append(record)
        self._sizes.append(size)
        self._bytes += size
        if len(self._records) >= GROUP:
            self._begin()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._begin)

    async def flush(self) -> None:
        """Return when all that came so far is written, or lost."""
        if self._records:
            self._begin()
        if self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])

    async def close(self, within_s: float) -> None:
        """Write what there is, within a bound; what is not written then is lost."""
        left = len(self._records)
        try:
            async with asyncio.timeout(within_s):
                await self.flush()
        except TimeoutError:
            self._outage.lost(left, f"not written within {within_s:g} s when the daemon stopped")
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        """All that is there now; what comes meanwhile waits for its own time, unless it is a whole group already."""
        left = len(self._records)
        while left > 0 or len(self._records) >= GROUP:
            group = self._records[:GROUP]
            left -= len(group)
            try:
                await self._write(group)
            except (DatabaseError, Superseded) as error:
                self._outage.lost(len(group), error.message)
            except Exception as error:
                log.exception("ledger_fault")
                self._outage.lost(len(group), f"a fault of cdc-hooks: {error}")
            else:
                self._outage.over()
            self._bytes -= sum(self._sizes[: len(group)])
            del self._records[: len(group)], self._sizes[: len(group)]
        if self._records and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._begin)
