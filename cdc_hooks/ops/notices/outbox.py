"""What is to be sent on one channel: kept in order, tried again a few times, bounded, and in nobody else's way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from cdc_hooks.ops.notices.channels import NotSent, Send
from cdc_hooks.ops.notices.words import Notice

RETRY_S = (2.0, 15.0, 60.0, 300.0)
"""Pauses between the attempts."""
MOST_WAITING = 256

log = structlog.get_logger()


class Outbox:
    """``send`` is None where the channel is not configured: then nothing is kept. It may change at any time."""

    def __init__(self, channel: str, count: Callable[[str, int], None], *, at_once: int, gather_s: float) -> None:
        self.send: Send | None = None
        self._channel = channel
        self._count = count
        self._at_once = at_once
        self._gather_s = gather_s
        self._waiting: deque[Notice] = deque()
        self._under_way = 0
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def left(self) -> int:
        """How many are not sent yet."""
        return len(self._waiting) + self._under_way

    def put(self, notice: Notice) -> None:
        """Of too many the oldest ones go: what is new says more about how things are."""
        if self.send is None:
            return
        self._waiting.append(notice)
        if len(self._waiting) > MOST_WAITING:
            self._fail([self._waiting.popleft()], "too many wait to be sent")
        self._empty.clear()
        self._news.set()

    async def run(self) -> None:
        """Send what there is, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._pause(self._gather_s)
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(self._at_once, len(self._waiting)))]
                self._under_way = len(batch)
                await self._deliver(batch)
                self._under_way = 0
            self._empty.set()

    async def flush(self) -> None:
        """Until all is sent or given up on; from now on without pauses and without another attempt after a failure."""
        self._hurry.set()
        await self._empty.wait()

    async def _deliver(self, batch: Sequence[Notice]) -> None:
        for pause_s in (*RETRY_S, None):
            if self.send is None:
                return
            last = pause_s is None or self._hurry.is_set()
            try:
                answer = await self.send(batch)
            except NotSent as error:
                if last or error.for_good:
                    self._fail(batch, error.why)
                    return
                log.warning("notice_retried", **self._about(batch), error=error.why, retry_in_s=pause_s)
                await self._pause(pause_s or 0.0)
            except Exception:
                log.exception("notice_failed", **self._about(batch))
                self._count("failed", len(batch))
                return
            else:
                log.info("notice_sent", **self._about(batch), answer=answer)
                self._count("sent", len(batch))
                return

    def _fail(self, batch: Sequence[Notice], why: str) -> None:
        log.error(
            "notice_failed", **self._about(batch), error=why, hint="see the section notify; cdc-hooks notify test"
        )
        self._count("failed", len(batch))

    def _about(self, batch: Sequence[Notice]) -> dict[str, object]:
        return {"channel": self._channel, "notices": [notice.headline for notice in batch[:10]], "id": batch[0].id}

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return
