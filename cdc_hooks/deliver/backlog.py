"""What had gathered in an outage: where it ends, so that the limit on the rate ends there, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdc_hooks.changelog.pulse import Head
    from cdc_hooks.deliver.courier import Courier

NOTHING_MORE_S = 2.0
"""If no tick comes for so long after an outage, nothing had gathered."""


class Backlog:
    """Of one webhook. While nobody waits for ticks none are made: the first one after an outage ends what had gathered.

    Ticks that are there already when it is over may be older, and do not.
    """

    def __init__(self, courier: Courier, head: Head) -> None:
        self._courier = courier
        self._head = head
        self._recoveries = -1  # to begin may be to go on after an outage
        self._is_there = False
        self._known = 0
        self._ends_at: int | None = None

    async def beyond(self, tick: int, claim: tuple[int, str] | None) -> int:
        """As of the head: a tick after this one, up to which all is delivered."""
        if self._courier.recoveries != self._recoveries:
            self._recoveries, self._known = self._courier.recoveries, self._head.tick
            self._is_there, self._ends_at = True, None
        if self._ends_at is not None and tick >= self._ends_at:
            self._is_over()
        if self._is_there:
            try:
                async with asyncio.timeout(NOTHING_MORE_S):
                    return self._seen(await self._head.beyond(tick, claim))
            except TimeoutError:
                self._is_over()
        return await self._head.beyond(tick, claim)

    def _seen(self, tick: int) -> int:
        if self._ends_at is None and tick > self._known:
            self._ends_at = tick
        return tick

    def _is_over(self) -> None:
        self._is_there, self._ends_at = False, None
        self._courier.caught_up()
