"""Ticks when somebody wants them, sleep when nothing happens.

Awake, the pulse looks at the log every few milliseconds, more rarely where there is much to find. After a while
without news it falls asleep: it sets the doorbell, so that writers ring, and then makes sure that no writer that still
thinks it awake is left (the fence).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping

import structlog

from cdc_hooks.changelog.connection import ConnectionLost
from cdc_hooks.changelog.journal import Journal, Look, Waiting
from cdc_hooks.changelog.lease import BEAT_S
from cdc_hooks.changelog.stretch import Columns, Kinds
from cdc_hooks.changelog.window import Page, Window
from cdc_hooks.errors import DatabaseError, Superseded

POLL_MIN_S = 0.001
POLL_QUIET_S = 0.010
"""Looks that find nothing become rarer, up to this."""
POLL_BUSY_S = 0.050
POLL_BUSY_RATE = 10_000
"""The more transactions arrive a second, the rarer are looks, up to POLL_BUSY_S at this rate: so there are larger
batches instead of ever more looks, which take their time from the writers."""
RATE_OVER_S = 0.1
"""The rate is a mean over about so long: a few transactions that come close together are no rush."""
POLL_IDLE_S = 0.5
"""Without a doorbell (behind a pooler, or where prepared transactions are in use) an idle daemon looks so often."""
AWAKE_S = 0.3
"""How long it stays awake without news."""
RING_S = 60.0
"""How long writers ring for a daemon that has died in its sleep."""

log = structlog.get_logger()
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
        self._claims: dict[int, tuple[int, str]] = {}  # by webhook: where it waits, and its shape
        self._claimed = _NOTHING
        self._moved = asyncio.Event()

    async def beyond(self, tick: int, claim: tuple[int, str] | None = None) -> int:
        """Wait until there is a tick after this one; ``claim``: what to claim a short window for, webhook and shape."""
        while self.tick <= tick:
            self._hungry += 1
            if claim is not None:
                self._claims[claim[0]] = (tick, claim[1])
            self.wanted.set()
            try:
                await self._moved.wait()
            finally:
                if claim is not None:
                    self._claims.pop(claim[0], None)
                self._hungry -= 1
                if not self._hungry:
                    self.wanted.clear()
        return self.tick

    def waiting(self) -> Waiting:
        """Who waits at the newest tick, and wants what follows to be claimed."""
        return Waiting(self.tick, {one: shape for one, (tick, shape) in self._claims.items() if tick == self.tick})

    def is_claimed_for(self, webhook_id: int, shape: str) -> bool:
        """Whether the newest page is claimed for a webhook, which waited for it."""
        return self._claimed.get(webhook_id) == shape

    def move(self, window: Window, page: Page | None = None, claimed: Mapping[int, str] = _NOTHING) -> None:
        """To the end of a window, which a look has found."""
        if window.hi_tick > self.tick:
            self._move(window.hi_tick, window, page, claimed)

    def advance(self, tick: int) -> None:
        """To a tick that was made for another reason. Who waits goes on with the changes up to there."""
        if tick > self.tick:
            self._move(tick, None, None, _NOTHING)

    def _move(self, tick: int, window: Window | None, page: Page | None, claimed: Mapping[int, str]) -> None:
        self.tick, self.window, self.page, self._claimed = tick, window, page, claimed
        self._moved.set()
        self._moved = asyncio.Event()


class Pace:
    """How long to wait after a look that has found something: by how many transactions come. Pure."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._at = -math.inf

    def pause_s(self, found: int, now: float) -> float:
        """``found``: transactions; ``now``: in seconds of any clock. What counts is their mean rate lately."""
        since_s = max(now - self._at, POLL_MIN_S)
        self._rate += (found / since_s - self._rate) * -math.expm1(-since_s / RATE_OVER_S)
        self._at = now
        return min(max(POLL_MIN_S, POLL_BUSY_S * self._rate / POLL_BUSY_RATE), POLL_BUSY_S)


def found_by(head: Head) -> int:
    """How many captured transactions there are in the newest window, at most: no more than changes, and no more than
    transaction ids that were given out meanwhile. So a large transaction is no rush, and neither are those of others.
    """
    window, page = head.window, head.page
    if window is None:
        return 0
    changes = window.upto_id - window.after_id if page is None else len(page.changes)
    return min(changes, window.xids)


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
        self._pace = Pace()

    async def run(self) -> None:
        await self._beat(0.0)
        while True:
            await self._stay_awake()
            if self._doorbell:
                await self._sleep()

    async def _stay_awake(self) -> None:
        """Look again and again; return when there was no news for a while. Without a doorbell, never return."""
        quiet, news_at = POLL_MIN_S, time.monotonic()
        while True:
            if not self._head.wanted.is_set():
                await self._nobody_hungry()
                quiet, news_at = POLL_MIN_S, time.monotonic()
            if await self._news():
                quiet, news_at = POLL_MIN_S, time.monotonic()
                pause = self._pace.pause_s(found_by(self._head), news_at)
            elif time.monotonic() - news_at > AWAKE_S:
                if self._doorbell:
                    return
                pause = quiet = min(quiet * 1.5, POLL_IDLE_S)
            else:
                pause = quiet = min(quiet * 1.3, POLL_QUIET_S)
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
            return await self._look(waiting)
        self._next_beat = time.monotonic() + BEAT_S
        return await self._journal.look_and_beat(RING_S, waiting)

    async def _news(self) -> bool:
        waiting = self._head.waiting()
        return self._take(await self._look(waiting), waiting)

    async def _look(self, waiting: Waiting) -> Look:
        """A look. If there is something that cannot be read, it is left to the workers to say so, each by itself."""
        try:
            return await self._journal.look(waiting)
        except (ConnectionLost, Superseded):
            raise
        except DatabaseError as error:
            log.error("look_failed", error=error.message, hint=error.hint)  # noqa: TRY400 - not a fault of ours
            return await self._journal.look(reading=False)

    def _take(self, look: Look, waiting: Waiting) -> bool:
        """Hand on what a look has found; False if nothing."""
        if look.window is None:
            return False
        self._head.move(
            look.window, self._page(look.window, look.columns), waiting.shapes if look.claimed else _NOTHING
        )
        return True

    def _page(self, window: Window, columns: Columns | None) -> Page | None:
        if columns is None:
            return None
        try:
            stretch = columns.decode()
        except DatabaseError:
            return None  # as above: the workers will say it
        self._on_read(stretch.kinds)
        return Page(window, window.after_id, window.upto_id, True, stretch.changes, stretch.kinds)

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
