"""What arrives at a receiver: kept, counted, and waited for."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.acceptance.harness import SECRET, WITHIN_S
from tests.receivers import Behaviour, Received, Receiver, Stream, answer, receiver_in_thread


@dataclass(frozen=True)
class Arrival:
    """One verified request."""

    id: str
    body: bytes
    table: str
    action: str
    events: tuple[int, ...]
    """The ids of its events, in the order of the body, without the epoch."""
    request: Received
    at: float
    """By the monotonic clock, in seconds."""

    @property
    def items(self) -> list[dict[str, Any]]:
        return json.loads(self.body)["items"]

    @property
    def sender(self) -> str | None:
        return self.request.header("x-sender")


class Inbox:
    """Behaves as told, and keeps what came, in the order in which it came."""

    def __init__(self, then: Behaviour) -> None:
        self.then = then
        self.arrivals: list[Arrival] = []
        self.times: Counter[int] = Counter()
        """How often each event came."""
        self.bodies: dict[str, bytes] = {}
        self.contradictions: list[str] = []
        """Ids that came with two different bodies."""
        self.in_flight = 0
        self.most_in_flight = 0
        self._news = threading.Condition()
        self.receiver: Receiver

    @property
    def url(self) -> str:
        return self.receiver.url

    async def __call__(self, request: Received, stream: Stream) -> bool:
        self._take(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self.then(request, stream)
        finally:
            self.in_flight -= 1

    def wait(self, condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Return as soon as it holds; it is looked at after each arrival."""
        with self._news:
            assert self._news.wait_for(condition, within_s), (
                f"not within {within_s} s; {len(self.arrivals)} requests with {len(self.times)} events came"
            )

    def until(self, events: int, within_s: float = WITHIN_S) -> list[Arrival]:
        """What came, as soon as so many different events did."""
        self.wait(lambda: len(self.times) >= events, within_s)
        return list(self.arrivals)

    def until_all(self, wanted: set[int], within_s: float = WITHIN_S) -> None:
        """Return when all of these events came."""
        with self._news:
            came = self._news.wait_for(lambda: len(self.times) >= len(wanted) and wanted <= self.times.keys(), within_s)
        missing = sorted(wanted - self.times.keys())
        assert came, f"{len(missing)} of {len(wanted)} events are missing after {within_s} s, such as {missing[:10]}"

    def duplicates(self) -> int:
        """How many events came again."""
        return sum(self.times.values()) - len(self.times)

    def values(self, column: str) -> list[Any]:
        """A column of all rows that came, in the order in which they came."""
        return [item["data"][column] for arrival in list(self.arrivals) for item in arrival.items]

    def _take(self, request: Received) -> None:
        said = json.loads(request.body)
        identity = request.header("webhook-id") or ""
        events = tuple(int(item["eventId"].partition("-")[2]) for item in said["items"])
        with self._news:
            if said["id"] != identity or said["eventCount"] != len(events):
                self.contradictions.append(f"{identity}: the body does not agree with itself or its headers")
            if self.bodies.setdefault(identity, request.body) != request.body:
                self.contradictions.append(f"{identity}: came with two different bodies")
            self.times.update(events)
            self.arrivals.append(
                Arrival(identity, request.body, said["table"], said["action"], events, request, time.monotonic())
            )
            self._news.notify_all()


@contextmanager
def receiving(then: Behaviour | None = None, *, secret: str | None = SECRET, refusing: float = 0.0) -> Iterator[Inbox]:
    """An inbox at a receiver that verifies signatures. At the end nothing may be unverified or contradictory.

    ``refusing``: this part of the requests is answered 503, and is not in the inbox.
    """
    inbox = Inbox(then or answer())
    with receiver_in_thread(secret=secret, then=_refusing(refusing, inbox) if refusing else inbox) as receiver:
        inbox.receiver = receiver
        yield inbox
    assert not receiver.rejected, "a request was not verified"
    assert not inbox.contradictions, inbox.contradictions[:3]


def _refusing(part: float, inbox: Inbox) -> Behaviour:
    chance = random.Random(1)

    async def behave(request: Received, stream: Stream) -> bool:
        return await (answer(503) if chance.random() < part else inbox)(request, stream)

    return behave


class Gate:
    """Keeps requests waiting for their answer until it is opened."""

    def __init__(self, then: Behaviour | None = None) -> None:
        self._then = then or answer()
        self._closed = True
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def __call__(self, request: Received, stream: Stream) -> bool:
        if self._closed:
            opened = asyncio.Event()
            self._waiting.append((asyncio.get_running_loop(), opened))
            await opened.wait()
        return await self._then(request, stream)

    def open(self) -> None:
        self._closed = False
        for loop, opened in self._waiting:
            loop.call_soon_threadsafe(opened.set)


class Switch:
    """Behaves in one way until it is turned, and then in the other."""

    def __init__(self, first: Behaviour, then: Behaviour | None = None) -> None:
        self._now = first
        self._then = then or answer()

    async def __call__(self, request: Received, stream: Stream) -> bool:
        return await self._now(request, stream)

    def turn(self) -> None:
        self._now = self._then


def slow(most_s: float, seed: int = 1) -> Behaviour:
    """Answers 200 after a random time."""
    chance = random.Random(seed)

    async def behave(request: Received, stream: Stream) -> bool:
        await asyncio.sleep(chance.random() * most_s)
        return await answer()(request, stream)

    return behave


def late(seconds: float) -> Behaviour:
    """Answers 200 after this time."""

    async def behave(request: Received, stream: Stream) -> bool:
        await asyncio.sleep(seconds)
        return await answer()(request, stream)

    return behave


def first_then(count: int, first: Behaviour, then: Behaviour) -> Behaviour:
    """So many requests are treated in one way, all others in another."""
    left = count

    async def behave(request: Received, stream: Stream) -> bool:
        nonlocal left
        left -= 1
        return await (first if left >= 0 else then)(request, stream)

    return behave
