"""What stops a webhook, and what it leaves out: written durably, so that a restart does not forget it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from cdc_hooks.changelog.connection import ConnectionLost
from cdc_hooks.deliver.storable import storable
from cdc_hooks.errors import CdcHooksError

if TYPE_CHECKING:
    from cdc_hooks.changelog.journal import Journal
    from cdc_hooks.model import Message

log = structlog.get_logger()


class Controls:
    """Of one webhook."""

    def __init__(self, journal: Journal, webhook_id: int, server_encoding: str = "UTF8") -> None:
        self._encoding = server_encoding
        self._journal = journal
        self._webhook_id = webhook_id
        self._writing: set[asyncio.Task[None]] = set()

    async def pause(self, why: str) -> None:
        """It paused by itself."""
        await self._journal.write(
            "pause_webhook", webhook_id=self._webhook_id, by="policy", why=storable(why, self._encoding)
        )

    def resumed(self) -> None:
        """It is well again. Written in the background: if that fails, a restart finds it paused, and probes again."""
        task = asyncio.create_task(self._resume())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def dropped(self, message: Message, why: str) -> None:
        """Its events will not come: a gap, of which the receiver is not told, for it wants nothing that comes late."""
        first, last = (int(event.partition("-")[2]) for event in (message.first_event, message.last_event))
        await self._journal.write(
            "add_gap",
            webhook_id=self._webhook_id,
            after_id=first - 1,
            upto_id=last,
            reason=storable(why, self._encoding),
            told=True,
        )

    async def _resume(self) -> None:
        try:
            await self._journal.write("resume_webhook", webhook_id=self._webhook_id, by="policy")
        except ConnectionLost:
            return  # the term ends with it
        except CdcHooksError as error:
            log.error("resumption_not_written", error=error.message)  # noqa: TRY400 - no fault of ours
