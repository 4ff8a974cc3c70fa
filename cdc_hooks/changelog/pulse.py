"""Ticks when somebody wants them, sleep when nothing happens.

Awake, the pulse looks at the log every few milliseconds. After a while without news it falls asleep: it sets the
doorbell, so that writers ring, and then makes sure that no writer that still thinks it awake is left (the fence).
"""

from __future__ import annotations

import asyncio
import time

from cdc_hooks.changelog.journal import Journal, Look
from cdc_hooks.changelog.lease import BEAT_S
from cdc_hooks.changelog.window import Window

POLL_MIN_S = 0.001
POLL_MAX_S = 0.010
POLL_IDLE_S = 0.5
"""Without a doorbell (behind a pooler, or where prepared transactions are in use) an idle daemon looks so often."""
AWAKE_S = 0.3
"""How long it stays awake without news."""
RING_S = 60.0
"""How long writers ring for a daemon that has died in its sleep."""


class Head:
    """The newest tick. Webhooks wait here for the next one; a tick is made only if one of them does."""

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.window: Window | None = None
        self._hungry = 0
        self.wanted = asyncio.Event()
        self._moved = asyncio.Event()

    async def beyond(self, tick: int) -> int:
        """Wait until there is a tick after this one."""
        while self.tick <= tick:
            self._hungry += 1
            self.wanted.set()
            try:
                await self._moved.wait()
            finally:
                self._hungry -= 1
                if not self._hungry:
                    self.wanted.clear()
        return self.tick

    def move(self, window: Window) -> None:
        self.tick, self.window = window.hi_tick, window
        self._moved.set()
        self._moved = asyncio.Event()


class Pulse:
    """The one task that makes ticks and keeps the lead."""

    def __init__(self, journal: Journal, head: Head, bell: asyncio.Event, *, doorbell: bool) -> None:
        self._journal = journal
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
            look = await self._journal.look()
            if look.window is not None:
                self._head.move(look.window)
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
            look = await self._look_asleep()
            if look.window is not None:
                self._head.move(look.window)
                break
            fenced = look.oldest_xid > mine
            pause = BEAT_S if fenced else min(pause * 2, BEAT_S)
            if await self._rung_within(min(pause, max(0.0, self._next_beat - time.monotonic()))):
                await self._news()
                break
        await self._beat(0.0)

    async def _look_asleep(self) -> Look:
        if time.monotonic() < self._next_beat:
            return await self._journal.look()
        self._next_beat = time.monotonic() + BEAT_S
        return await self._journal.look_and_beat(RING_S)

    async def _news(self) -> None:
        look = await self._journal.look()
        if look.window is not None:
            self._head.move(look.window)

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
