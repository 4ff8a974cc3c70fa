"""Writing a webhook's progress behind its back: soon, in the right order, and no oftener than needed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from cdc_hooks.errors import DatabaseError, Superseded

if TYPE_CHECKING:
    from cdc_hooks.changelog.journal import Journal
    from cdc_hooks.changelog.window import Progress

AGAIN_S = 1.0
"""Before what could not be written is written again."""


class Recorder:
    """Each progress stands for all before it, so only the newest that is not yet written is kept."""

    def __init__(self, journal: Journal, webhook_id: int) -> None:
        self._journal = journal
        self._webhook_id = webhook_id
        self._unsaved: Progress | None = None
        self._error: DatabaseError | Superseded | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.Task[None] | None = None

    def now(self, progress: Progress) -> asyncio.Future[None]:
        """Write it; done when it is durable."""
        self.forget()
        return self._journal.record(self._webhook_id, progress)

    def forget(self) -> None:
        """Do not write what is not yet written: something newer is recorded already."""
        self._unsaved, self._error = None, None
        self._cancel_timer()

    def soon(self, progress: Progress, within_s: float) -> None:
        """Write it, or a newer one, in the background within this time.

        Raises what the last write failed with: whoever went on would send more and more that is not recorded.
        """
        self._later(progress, within_s)
        if self._error is not None:
            raise self._error

    async def flush(self) -> None:
        """Return when all is written."""
        self._cancel_timer()
        if self._writer is not None:
            await self._writer
            self._cancel_timer()
        if self._unsaved is not None:
            await self.now(self._unsaved)

    async def close(self) -> None:
        """Write nothing more."""
        self._cancel_timer()
        if self._writer is not None:
            self._writer.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._writer

    def _later(self, progress: Progress, within_s: float) -> None:
        self._unsaved = progress
        loop = asyncio.get_running_loop()
        due = loop.time() + within_s
        if self._timer is None or due < self._timer.when():
            self._cancel_timer()
            self._timer = loop.call_at(due, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._unsaved is not None and self._timer is None:
            progress, self._unsaved = self._unsaved, None
            try:
                await self._journal.record(self._webhook_id, progress)
            except (DatabaseError, Superseded) as error:
                self._error = error
                # Also where nothing more comes: else a restart, however much later, would send it again.
                self._later(self._unsaved or progress, AGAIN_S)
            else:
                self._error = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
