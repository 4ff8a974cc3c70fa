"""The gate of a webhook, which each attempt goes through: stopped, paused, held back, limited in rate and number.

The breaker says when the endpoint is sick. Times are of the event loop's clock: nobody sets it back.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from cdc_hooks.deliver.breaker import Breaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdc_hooks.deliver.breaker import BreakerRules

_JITTER = 0.2


@dataclass(frozen=True)
class GateRules:
    """``rate`` and ``drain_rate`` in requests a second; ``drain_rate`` holds after an outage until all is caught up."""

    concurrency: int = 1
    rate: float | None = None
    breaker: BreakerRules | None = None
    drain_rate: float = 20.0
    probe_paused_s: float | None = None
    """How often to try whether a webhook that paused by itself is well again; None: not at all."""


class Gate:
    """``on_turn`` is called whenever the gate opens or closes.

    ``after_outage``: the endpoint was sick when the daemon before, or the configuration before, last tried it.
    """

    def __init__(
        self, rules: GateRules, on_turn: Callable[[], None] = lambda: None, *, after_outage: bool = False
    ) -> None:
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._breaker = Breaker(rules.breaker) if rules.breaker else None
        self._on_turn = on_turn
        self._turned = asyncio.Event()
        self._stopped = False
        self._hurried = False
        self.paused: str | None = None
        """Why, or None."""
        self._by_itself = False
        self._next_probe = inf
        self._asked_until = 0.0
        self._next_at = 0.0
        self._draining = after_outage and self._breaker is not None
        self._limit = rules.concurrency
        self._good = 0
        self._inside = 0
        self._waiting = 0
        self.recoveries = 0
        """How often it has opened again: who waits by a schedule of his own may go now."""

    @property
    def is_sick(self) -> bool:
        """Whether requests only try if the endpoint is well again."""
        return self._breaker is not None and self._breaker.is_open

    @property
    def probing(self) -> bool:
        """Whether who is let in now is to try if the endpoint is well again."""
        return self.paused is not None or self.is_sick

    # -- who goes through -----------------------------------------------------------------------------------------

    async def enter(self) -> bool:
        """Wait to be let in; then ``leave`` must follow. False when told to stop, or to wait no longer."""
        while (wait := self._wait()) > 0:
            if self._stopped or (self._hurried and self._is_held_back):
                return False
            await self._until_turned(wait)
        if self._stopped:
            return False
        self._inside += 1
        rate = self._rate
        if rate is not None:
            self._next_at = max(self._next_at, self._loop.time()) + 1 / rate
        return True

    def leave(self) -> None:
        self._inside -= 1
        if self._waiting:
            self._wake()

    async def wait_until(self, at: float) -> bool:
        """Wait until a time of the loop's clock, or until the endpoint is well again. False when told not to wait."""
        seen = self.recoveries
        while not (self._stopped or self._hurried):
            wait = at - self._loop.time()
            if wait <= 0 or self.recoveries != seen:
                return True
            await self._until_turned(wait)
        return False

    # -- what came of it ------------------------------------------------------------------------------------------

    def succeeded(self, changes: int = 0, *, probe: bool = False) -> None:
        """``changes``: how many were accepted. ``probe``: it was let in to try if the endpoint is well again."""
        if self.paused is not None:
            if probe and self._by_itself:
                self.resume()
        elif self._breaker is not None and self._breaker.succeeded(self._loop.time(), changes):
            self._recovered()
        if self._limit < self._rules.concurrency:
            self._good += 1
            if self._good >= self._limit:
                self._limit, self._good = self._limit + 1, 0

    def failed(
        self,
        suspect: str | None = None,
        *,
        probe: bool = False,
        asked_s: float = 0.0,
        too_many: bool = False,
        refused: bool = False,
    ) -> None:
        """``suspect``: see the breaker. ``asked_s``: how long the endpoint asks to be left alone; ``too_many``: it gets
        more than it can take; ``refused``: it does not want what a single change says.
        """
        now = self._loop.time()
        if too_many:
            self._limit, self._good = max(1, self._limit // 2), 0
        if asked_s:
            self._asked_until = max(self._asked_until, now + asked_s)
        if probe and self._by_itself and self._rules.probe_paused_s is not None:
            self._next_probe = now + self._rules.probe_paused_s
        jitter = random.uniform(0, _JITTER)  # noqa: S311 - no secret
        if self._breaker is None:
            return
        if refused:
            opened = self._breaker.refused(now, jitter, probe=probe)
        else:
            opened = self._breaker.failed(now, suspect, jitter, probe=probe)
        if opened:
            self._turn()

    def caught_up(self) -> None:
        """Nothing waits: what was held back during an outage is delivered."""
        self._draining = False

    # -- what others decide ---------------------------------------------------------------------------------------

    def pause(self, why: str, *, by_itself: bool) -> None:
        """Let nobody in until ``resume``; who paused by itself may try now and then. An operator's word stands."""
        if by_itself and self.paused is not None:
            return
        self.paused, self._by_itself = why, by_itself
        probe_s = self._rules.probe_paused_s if by_itself else None
        self._next_probe = inf if probe_s is None else self._loop.time() + probe_s
        self._turn()

    def resume(self) -> None:
        """Let in again, at once, whatever held back before."""
        self.paused, self._by_itself = None, False
        self._next_probe, self._asked_until = inf, 0.0
        if self._breaker is not None:
            self._breaker.succeeded(self._loop.time())
        self._recovered()

    def stop(self) -> None:
        """Let nobody in any more."""
        self._stopped = True
        self._wake()

    def hurry(self) -> None:
        """Send away who would have to wait for an endpoint that is sick, or for another attempt."""
        self._hurried = True
        self._wake()

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _rate(self) -> float | None:
        if not self._draining:
            return self._rules.rate
        return min(self._rules.drain_rate, self._rules.rate or inf)

    @property
    def _is_held_back(self) -> bool:
        return self.probing or self._asked_until > self._loop.time()

    def _wait(self) -> float:
        """How long the next one has to wait at least; 0: not at all; inf: until something happens."""
        if self._inside >= (1 if self.probing else self._limit):
            return inf
        at = self._next_probe if self.paused is not None else self._asked_until
        if self._breaker is not None and self._breaker.open_until is not None and self.paused is None:
            at = max(at, self._breaker.open_until)
        if self._rate is not None:
            at = max(at, self._next_at)
        return max(0.0, at - self._loop.time()) if at else 0.0

    def _recovered(self) -> None:
        self._draining = self._breaker is not None
        self._limit, self._good = 1, 0
        self.recoveries += 1
        self._turn()

    def _turn(self) -> None:
        self._wake()
        self._on_turn()

    def _wake(self) -> None:
        self._turned.set()
        self._turned = asyncio.Event()

    async def _until_turned(self, at_most_s: float) -> None:
        self._waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if at_most_s == inf else at_most_s):
                    await self._turned.wait()
        finally:
            self._waiting -= 1
