"""How many requests a webhook gets at a time, and how soon: while its endpoint is sick, afterwards, and after 429."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import pairwise

import pytest

from tests.acceptance.harness import Site, eventually, leading
from tests.acceptance.inbox import Switch, late, receiving
from tests.acceptance.orders import STEADY, insert, letters, prepare
from tests.receivers import Received, Stream, answer

ONE_BY_ONE = {"batch": {"max_events": 1}, "retry": {"schedule": ["10ms"] * 99, "jitter": 0}}


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def test_a_sick_endpoint_is_tried_alone_after_longer_and_longer_pauses_and_then_gets_its_backlog_slowly(shop):
    widths: list[int] = []

    async def sick(request: Received, stream: Stream) -> bool:
        widths.append(inbox.in_flight)
        while len(widths) < 4:
            await asyncio.sleep(0.01)  # the first four are there together
        await asyncio.sleep(0.05)
        return await answer(503)(request, stream)

    switch = Switch(sick)
    with receiving(switch) as inbox:
        breaker = {"failures": 1, "pause": "200ms", "longest_pause": "800ms", "drain_rate": 20}
        prepare(shop, inbox.url, concurrency=4, breaker=breaker, **ONE_BY_ONE)
        with leading(shop):
            insert(shop, 1, 34)
            inbox.wait(lambda: len(inbox.arrivals) == 4 + 5)
            tried = [one.at for one in inbox.arrivals[3:]]
            switch.turn()
            inbox.until(34)
            well = [one.at for one in inbox.arrivals[9:]]
    assert widths == [1, 2, 3, 4, *[1] * 5]
    for pause, wanted in zip((b - a for a, b in pairwise(tried)), (0.2, 0.4, 0.8, 0.8, 0.8), strict=True):
        assert pause >= wanted
    assert well[-1] - well[0] >= (len(well) - 2) / 20


@pytest.mark.parametrize("restart", ["", "stop", "kill"])
def test_what_gathers_in_an_outage_comes_slowly_and_what_comes_later_does_not(shop, restart):
    """Also where all webhooks are held back, so that nobody reads the log meanwhile; and after a restart."""
    switch = Switch(answer(503))
    with receiving(switch) as inbox, ExitStack() as stack:
        breaker = {"failures": 3, "pause": "100ms", "longest_pause": "200ms", "drain_rate": 10}
        prepare(shop, inbox.url, concurrency=4, breaker=breaker, **ONE_BY_ONE)
        daemon = stack.enter_context(leading(shop))
        insert(shop, 1, 1)
        eventually(lambda: daemon.metric("cdc_hooks_webhook_state", webhook="w", state="open") == 1, what="an outage")
        insert(shop, 2, 31)
        # What the next daemon knows of the outage: that so many attempts have failed.
        eventually(lambda: shop.value("SELECT max(attempts) FROM cdc_hooks.delivery") >= 3, what="the record of it")
        if restart:
            (daemon.kill if restart == "kill" else daemon.terminate)()
            daemon.wait()
            shop.let_the_lease_run_out()
        before = len(inbox.arrivals)
        switch.turn()
        if restart:
            stack.enter_context(leading(shop))
        inbox.until(31)
        drained = [one.at for one in inbox.arrivals[before:]]
        assert drained[-1] - drained[0] >= (31 - 2) / 10
        insert(shop, 32, 131)
        inbox.until(131)
    assert inbox.arrivals[-1].at - inbox.arrivals[-100].at < 99 / 10


def test_the_breaker_opens_when_most_requests_of_a_while_fail_although_never_many_in_a_row(shop):
    async def every_fourth(request: Received, stream: Stream) -> bool:
        return await answer(200 if len(inbox.arrivals) % 4 == 0 else 503)(request, stream)

    with receiving(every_fourth) as inbox:
        breaker = {"failures": 1000, "rate": 0.6, "pause": "1h", "longest_pause": "1h"}
        prepare(shop, inbox.url, concurrency=1, breaker=breaker, **ONE_BY_ONE)
        with leading(shop) as daemon:
            insert(shop, 1, 30)
            eventually(lambda: daemon.metric("cdc_hooks_webhook_state", webhook="w", state="open") == 1)
            assert 20 <= len(inbox.arrivals) <= 22


def test_who_says_too_many_requests_gets_half_as_many_at_a_time_and_slowly_more_again(shop):
    widths: list[int] = []

    async def behave(request: Received, stream: Stream) -> bool:
        widths.append(inbox.in_flight)
        if len(widths) <= 8:
            while len(widths) < 8:
                await asyncio.sleep(0.01)
            return await answer(429)(request, stream)
        return await late(0.03)(request, stream)

    with receiving(behave) as inbox:
        prepare(shop, inbox.url, concurrency=8, breaker=STEADY, **ONE_BY_ONE)
        with leading(shop):
            insert(shop, 1, 100)
            inbox.until(100)
            eventually(lambda: letters(shop) == [], what="nothing set aside")
    first, then = widths[:8], widths[8:]
    assert first == [1, 2, 3, 4, 5, 6, 7, 8]
    # From one on: another one when as many as may be there have got through.
    assert then[0] == 1
    assert all(width <= most for width, most in zip(then, [1, 2, 2, 3, 3, 3, 4, 4, 4, 4], strict=False))
    assert 5 <= max(then) <= 8
