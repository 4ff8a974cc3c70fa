"""Ticks when somebody wants them, sleep when nothing happens.

Awake, the pulse looks at the log every few milliseconds. After a while without news it falls asleep: it sets the
doorbell, so that writers ring, and then makes sure that no writer that still thinks it awake is left (the fence).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from cdc_hooks.changelog.journal import Journal, Look, Waiting
from cdc_hooks.changelog.lease import BEAT_S
from cdc_hooks.changelog.stretch import Kinds
from cdc_hooks.changelog.window import Page, Window

POLL_MIN_S = 0.001
POLL_MAX_S = 0.010
POLL_IDLE_S = 0.5
"""Without a doorbell (behind a pooler, or where prepared transactions are in use) an idle daemon looks so often."""
AWAKE_S = 0.3
"""How long it stays awake without news."""
RING_S = 60.0
"""How long writers ring for a daemon that has died in its sleep."""

_NOTHING: Mapping[int, str] = {}


class Head:
    """The newest tick. Webhooks wait here for the next one; a tick is made only if one of them does.

    ``window`` is that of the newest tick, and ``page`` all of it, if it is short.
    """

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.window: Window | None = None
        self.page: Page | None = None
        self.wanted = asyncio.Event()
        self._hungry = 0
        self._shapes: dict[int, str] = {}
        self._claimed = _NOTHING
        self._moved = asyncio.Event()

    async def beyond(self, tick: int, claim: tuple[int, str] | None = None) -> int:
        """Wait until there is a tick after this one; ``claim``: what to claim a short window for, webhook and shape."""
        while self.tick <= tick:
            self._hungry += 1
            if claim is not None and self.tick == tick:
                self._shapes[claim[0]] = claim[1]
            self.wanted.set()
            try:
                await self._moved.wait()
            finally:
                if claim is not None:
                    self._shapes.pop(claim[0], None)
                self._hungry -= 1
                if not self._hungry:
                    self.wanted.clear()
        return self.tick

    def waiting(self) -> Waiting:
        """Who waits, now."""
        return Waiting(self.tick, dict(self._shapes))

    def is_claimed_for(self, webhook_id: int, shape: str) -> bool:
        """Whether the newest page is claimed for a webhook, which waited for it."""
        return self._claimed.get(webhook_id) == shape

    def move(self, window: Window, page: Page | None = None, claimed: Mapping[int, str] = _NOTHING) -> None:
        self.tick, self.window, self.page, self._claimed = window.hi_tick, window, page, claimed
        self._moved.set()
        self._moved = asyncio.Event()


class Pulse:
    """The one task that makes ticks and keeps the lead."""

    def __init__(
        self,
        journal: Journal,
        head: Head,
        bell: asyncio.Event,
        *,
        doorbell: bool,
        on_read: Callable[[Kinds], None] = lambda _kinds: None,
    ) -> None:
        self._journal = journal
        self._on_read = on_read
        self._head = head
        self._bell = bell
        self._doorbell = doorbell
        self._next_beat = 0.0

    async def run(self) -> None:
        await self._beat(0.0)
        while True:
            await self._stay_awake()
            if self._doorbell:
                await self._sleep()

    async def _stay_awake(self) -> None:
        """Look again and again; return when there was no news for a while. Without a doorbell, never return."""
        pause, news_at = POLL_MIN_S, time.monotonic()
        while True:
            if not self._head.wanted.is_set():
                await self._nobody_hungry()
                pause, news_at = POLL_MIN_S, time.monotonic()
            if await self._news():
                pause, news_at = POLL_MIN_S, time.monotonic()
            elif time.monotonic() - news_at > AWAKE_S:
                if self._doorbell:
                    return
                pause = min(pause * 1.5, POLL_IDLE_S)
            else:
                pause = min(pause * 1.3, POLL_MAX_S)
            if time.monotonic() >= self._next_beat:
                await self._beat(None)
            await self._rung_within(pause)

    async def _sleep(self) -> None:
        """Sleep until somebody rings or a look finds something. Leaves the doorbell off.

        A writer that read "awake" before the flag was set has a transaction id below one taken after it. Until all of
        those have ended we look again at growing intervals; from then on every writer rings.
        """
        await self._beat(RING_S)
        mine = await self._journal.own_xid()
        pause = POLL_MIN_S
        while True:
            waiting = self._head.waiting()
            look = await self._look_asleep(waiting)
            if self._take(look, waiting):
                break
            fenced = look.oldest_xid > mine
            pause = BEAT_S if fenced else min(pause * 2, BEAT_S)
            if await self._rung_within(min(pause, max(0.0, self._next_beat - time.monotonic()))):
                await self._news()
                break
        await self._beat(0.0)

    async def _look_asleep(self, waiting: Waiting) -> Look:
        if time.monotonic() < self._next_beat:
            return await self._journal.look(waiting)
        self._next_beat = time.monotonic() + BEAT_S
        return await self._journal.look_and_beat(RING_S, waiting)

    async def _news(self) -> bool:
        waiting = self._head.waiting()
        return self._take(await self._journal.look(waiting), waiting)

    def _take(self, look: Look, waiting: Waiting) -> bool:
        """Hand on what a look has found; False if nothing."""
        if look.window is None:
            return False
        page = None
        if look.columns is not None:
            stretch = look.columns.decode()
            self._on_read(stretch.kinds)
            window = look.window
            page = Page(window, window.after_id, window.upto_id, True, stretch.changes, stretch.kinds)
        self._head.move(look.window, page, waiting.shapes if look.claimed else _NOTHING)
        return True

    async def _nobody_hungry(self) -> None:
        while not self._head.wanted.is_set():
            try:
                async with asyncio.timeout(max(0.0, self._next_beat - time.monotonic())):
                    await self._head.wanted.wait()
            except TimeoutError:
                await self._beat(None)

    async def _beat(self, ring_s: float | None) -> None:
        self._next_beat = time.monotonic() + BEAT_S
        await self._journal.beat(ring_s)

    async def _rung_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True
