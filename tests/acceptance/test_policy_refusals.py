"""Receivers that refuse many changes for what they say: those must not hold back others, nor all be set aside."""

from __future__ import annotations

import pytest

from tests.acceptance.harness import Site, eventually, leading
from tests.acceptance.inbox import receiving
from tests.acceptance.orders import accepted, ids_of, insert, letters, prepare, refusing
from tests.receivers import Behaviour, Received, Stream, answer

REJECTED = "SELECT count(*) FROM cdc_hooks.delivery WHERE state = 'rejected'"


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def taking(rows: set[int], refused: set[int]) -> Behaviour:
    """Refuses whatever has one of these rows in it; those of the others are added to ``rows``."""

    async def behave(request: Received, stream: Stream) -> bool:
        if refused & ids_of(request):
            return await answer(422)(request, stream)
        rows.update(ids_of(request))
        return await answer()(request, stream)

    return behave


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("refused", [range(10, 2001, 10), range(1001, 1101), range(901, 1251)], ids=str)
def test_an_endpoint_that_takes_others_is_not_sick_however_many_it_refuses(shop, concurrency, refused):
    """The breaker would wait for 10 s, and then longer and longer: with it this would take hours."""
    taken: set[int] = set()
    with receiving(taking(taken, set(refused))) as inbox:
        prepare(shop, inbox.url, concurrency=concurrency)
        with leading(shop) as daemon:
            insert(shop, 1, 2000)
            eventually(lambda: len(taken) == 2000 - len(refused), what="all others")
            eventually(lambda: shop.value(REJECTED) == len(refused), what="the letters")
            eventually(lambda: letters(shop) == [("rejected", 1, 422)] * len(refused), what="no others")
            eventually(
                lambda: daemon.metric("cdc_hooks_webhook_state", webhook="w", state="active") == 1,
                what="a well webhook",
            )


def test_a_change_that_is_set_aside_while_others_get_through_holds_nobody_back(shop):
    """Its own failures are many, and in a row; but the last one shows that it is to blame itself."""
    with receiving(refusing({7}, 500)) as inbox:
        breaker = {"failures": 3, "pause": "1h", "longest_pause": "1h"}
        retry = {"schedule": ["20ms"] * 9, "jitter": 0}
        prepare(shop, inbox.url, breaker=breaker, retry=retry)
        with leading(shop):
            insert(shop, 6, 7)
            eventually(lambda: letters(shop) == [("rejected", 1, 500)], what="the letter alone")
            insert(shop, 8, 9)
            inbox.wait(lambda: accepted(inbox, {7}) == [6, 8, 9])


def test_of_an_endpoint_that_begins_to_refuse_all_not_all_is_set_aside(shop):
    taken: set[int] = set()
    with receiving(taking(taken, set(range(1001, 5001)))) as inbox:
        prepare(shop, inbox.url, breaker={"failures": 5, "pause": "1h", "longest_pause": "1h"})
        with leading(shop) as daemon:
            insert(shop, 1, 5000)
            eventually(lambda: daemon.metric("cdc_hooks_webhook_state", webhook="w", state="open") == 1)
            assert len(taken) == 1000
            assert shop.value(REJECTED) <= 510


def test_for_each_change_that_was_accepted_one_may_be_refused(shop):
    taken: set[int] = set()
    with receiving(taking(taken, {3, 4, 5, 6, 7, 8, 9})) as inbox:
        prepare(shop, inbox.url, breaker={"failures": 3, "pause": "1h", "longest_pause": "1h"})
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            inbox.until(1)
            for row in range(3, 7):
                insert(shop, row, row)
                eventually(lambda row=row: shop.value(REJECTED) == row - 2, what="a letter")
                # One was accepted, and so it takes one more than the three that open it.
                opened = daemon.metric("cdc_hooks_webhook_state", webhook="w", state="open")
                assert opened == (row == 6)
