"""Receivers that are up and down in turn, and such as take a batch and do not say so."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest

from tests.acceptance.harness import SECRET, Daemon, Site, eventually, leading, own_port, webhook
from tests.acceptance.inbox import receiving
from tests.acceptance.orders import insert, letters, prepare
from tests.receivers import Behaviour, Received, Receiver, Stream, answer, hang

DOWN: dict[str, Behaviour | None] = {"refuses": None, "sick": answer(503), "hangs": hang()}
"""What each does while it is down; None: it takes no connections."""
FAILURES, PAUSE_S, CONCURRENCY = 3, 0.3, 4
OPTIONS = {
    "batch": {"max_events": 5},
    "concurrency": CONCURRENCY,
    "timeout": {"connect": "200ms", "total": "200ms"},
    "retry": {"schedule": ["50ms"], "jitter": 0},
    "breaker": {"failures": FAILURES, "pause": f"{PAUSE_S}s", "longest_pause": "600ms", "drain_rate": 1000},
}


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


class Flapping:
    """A receiver that can be switched, in its event loop. It keeps what it has said yes to."""

    def __init__(self, down: Behaviour | None) -> None:
        self._down = down
        self.receiver = Receiver(secret=SECRET, then=self._behave)
        self.receiver.port = own_port()  # while it is down nobody else takes it
        self.accepted: list[Received] = []
        self.is_up = True

    async def _behave(self, request: Received, stream: Stream) -> bool:
        if not self.is_up and self._down is not None:
            return await self._down(request, stream)
        self.accepted.append(request)
        return await answer()(request, stream)

    async def turn(self) -> None:
        self.is_up = not self.is_up
        if self._down is None:
            await (self.receiver.__aenter__() if self.is_up else self.receiver.__aexit__())

    def numbers_by_row(self) -> dict[int, list[int]]:
        rows = defaultdict(list)
        for request in self.accepted:
            for item in request.json["items"]:
                rows[item["rowId"]].append(item["data"]["number"])
        return rows


Do = Callable[[Callable[[], Awaitable[None]]], None]


@contextmanager
def flapping() -> Iterator[tuple[dict[str, Flapping], Do]]:
    """One of each kind, all up at first; and what runs something in their event loop, to its end."""
    all_of_them = {name: Flapping(down) for name, down in DOWN.items()}
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="flapping")
    thread.start()

    def do(what: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await what()

        asyncio.run_coroutine_threadsafe(run(), loop).result(30)

    stack = AsyncExitStack()

    async def start() -> None:
        for one in all_of_them.values():
            await stack.enter_async_context(one.receiver)

    try:
        do(start)
        yield all_of_them, do
    finally:
        do(stack.aclose)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def flapping_beside(shop: Site) -> Iterator[tuple[Daemon, dict[str, Flapping], Do]]:
    """With a daemon that has 60 rows to tell them of; at the end nothing may have been lost, or asked for too often."""
    with flapping() as (receivers, do):
        shop.configure({n: webhook(one.receiver.url, ["public.orders"], **OPTIONS) for n, one in receivers.items()})
        shop.apply()
        with leading(shop) as daemon:
            began = time.monotonic()
            insert(shop, 1, 60)
            yield daemon, receivers, do
            (newest,) = {number for (number,) in shop.execute("SELECT number FROM orders")}
            eventually(lambda: all_came(receivers, newest), what="all changes")
            eventually(lambda: are(daemon, "active"), what="well webhooks")
            eventually(lambda: letters(shop) == [], what="nothing left in the ledger")
            took_s = time.monotonic() - began
            for name, one in receivers.items():
                failed = len(daemon.events("attempt_failed", webhook=name))
                assert failed <= (took_s / PAUSE_S + 1) * (FAILURES + CONCURRENCY), name
                assert daemon.metric("cdc_hooks_deliveries_total", webhook=name, outcome="dead_letter") == 0
                assert {row: came for row, came in one.numbers_by_row().items() if came != sorted(came)} == {}, name
                assert not one.receiver.rejected, name


def all_came(receivers: dict[str, Flapping], number: int) -> bool:
    """Whether each has been told of each row that it has this number."""
    rows = [one.numbers_by_row() for one in receivers.values()]
    return all(len(one) == 60 and all(number in came for came in one.values()) for one in rows)


def are(daemon: Daemon, state: str) -> bool:
    return all(daemon.metric("cdc_hooks_webhook_state", webhook=name, state=state) == 1 for name in DOWN)


def test_flapping_slowly_turns_the_breaker_each_time(shop: Site) -> None:
    with flapping_beside(shop) as (daemon, receivers, do):

        async def turn() -> None:
            for one in receivers.values():
                await one.turn()

        for number in (1, 2, 3):
            eventually(lambda number=number: all_came(receivers, number - 1), what="all changes")
            do(turn)
            shop.execute("UPDATE orders SET number = %s", number)
            eventually(lambda: are(daemon, "open"), what="open breakers")
            do(turn)
            eventually(lambda: are(daemon, "active"), what="closed breakers")


def test_flapping_quicker_than_the_breaker_lets_all_through(shop: Site) -> None:
    with flapping_beside(shop) as (_, receivers, do):

        async def flap() -> None:
            for _ in range(60):
                for one in receivers.values():
                    await one.turn()
                await asyncio.sleep(0.05)

        flapper = threading.Thread(target=do, args=(flap,))
        flapper.start()
        number = 0
        while flapper.is_alive():
            number += 1
            shop.execute("UPDATE orders SET number = %s", number)
            eventually(lambda number=number: all_came(receivers, number), what="all changes, in between")
        flapper.join()


def test_a_receiver_that_takes_a_batch_and_then_times_out_can_know_it_again(shop: Site) -> None:
    done: dict[str, bytes] = {}

    async def behave(request: Received, stream: Stream) -> bool:
        identity = request.header("webhook-id") or ""
        again = done.setdefault(identity, request.body) == request.body and len(inbox.arrivals) % 3 == 0
        return await (answer() if again else hang())(request, stream)

    with receiving(behave) as inbox:
        prepare(shop, inbox.url, concurrency=1, timeout={"connect": "1s", "total": "1s"})
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            inbox.wait(lambda: len(inbox.arrivals) == 3)
            shop.execute("UPDATE orders SET number = 1")
            inbox.wait(lambda: len(inbox.arrivals) == 6)
            eventually(lambda: letters(shop) == [], what="an end")
            logged = "SELECT attempts, state FROM cdc_hooks.delivery_log ORDER BY number"
            eventually(lambda: shop.execute(logged) == [(3, "delivered")] * 2, what="two records")
            assert {line["error"] for line in daemon.events("attempt_failed")} == {"no answer within 1 s"}
    assert [one.action for one in inbox.arrivals] == ["insert"] * 3 + ["update"] * 3
    assert [one.id for one in inbox.arrivals] == [identity for identity in done for _ in range(3)]
    assert {one.body for one in inbox.arrivals} == set(done.values())
