"""Stopping, politely and not: what is sent again afterwards, and what is not."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import Gate, first_then, late, receiving
from tests.receivers import answer, hang


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def insert(shop: Site, first: int, last: int) -> None:
    shop.execute("INSERT INTO orders SELECT n, 0 FROM generate_series(%s::int, %s::int) n", first, last)


def test_kill_sends_again_only_what_was_in_flight(shop):
    gate = Gate()
    with receiving(first_then(20, answer(), gate)) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], batch={"max_events": 10})})
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1, 1000)
            inbox.wait(lambda: len(inbox.arrivals) == 24 and inbox.in_flight == 4)
            recorded = "SELECT done FROM cdc_hooks.progress ORDER BY id DESC LIMIT 1"
            eventually(lambda: sum(shop.value(recorded)) == 20, what="the record of 20 batches")
            daemon.kill()
            shop.let_the_lease_run_out()
        gate.open()
        with leading(shop):
            inbox.until(1000)
    again = [identity for identity, count in Counter(one.id for one in inbox.arrivals).items() if count > 1]
    assert sorted(again) == sorted(one.id for one in inbox.arrivals[20:24])
    assert len(inbox.arrivals) == 104
    assert sorted(inbox.times) == sorted({event for one in inbox.arrivals for event in one.events})


def test_a_batch_that_was_sent_is_sent_again_as_it_was(shop):
    """Also when more has been written and read meanwhile: the claim fixes the batch before its first attempt."""
    gate = Gate()
    with receiving(gate) as inbox, receiving() as other:
        shop.configure({"w": webhook(inbox.url, ["public.orders"]), "o": webhook(other.url, ["public.orders"])})
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1, 5)
            inbox.wait(lambda: inbox.in_flight == 1)
            insert(shop, 6, 10)
            other.until(10)
            daemon.kill()
            shop.let_the_lease_run_out()
        gate.open()
        insert(shop, 11, 12)
        with leading(shop):
            inbox.until(12)
    first, second = inbox.arrivals[:2]
    assert (first.id, first.body) == (second.id, second.body)
    assert len(first.events) == 5
    assert inbox.duplicates() == 5


def test_sigterm_finishes_what_is_in_flight(shop):
    gate = Gate(late(0.5))
    with receiving(gate) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], batch={"max_events": 1}, concurrency=2)})
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            inbox.wait(lambda: inbox.in_flight == 2)
            daemon.terminate()
            daemon.until("stopping")
            gate.open()
            assert daemon.wait() == 0
            assert daemon.events("stopped")
            assert len(inbox.arrivals) == 2
        inbox.then = answer()
        with leading(shop):
            inbox.until(10)
            insert(shop, 11, 11)
            inbox.until(11)
    assert inbox.duplicates() == 0


def test_sigterm_does_not_wait_for_ever(shop):
    with receiving(hang()) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], timeout={"total": "10m"})})
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1, 3)
            inbox.wait(lambda: inbox.in_flight == 1)
            daemon.terminate()
            assert daemon.wait(within_s=25) == 0
            assert daemon.events("attempts_cut_off", webhooks=1)
        inbox.then = answer()
        with leading(shop):
            inbox.wait(lambda: len(inbox.arrivals) == 2)
    assert inbox.arrivals[0].id == inbox.arrivals[1].id


def test_sigterm_while_it_waits_for_a_retry(shop):
    """A schedule of hours does not hold up the end."""
    with receiving(answer(500)) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], retry={"schedule": ["2h"]})})
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1, 3)
            daemon.until("attempt_failed")
            daemon.terminate()
            assert daemon.wait(within_s=30) == 0
            assert not daemon.events("attempts_cut_off")


def test_a_stop_releases_the_lead(shop):
    """The next daemon need not wait for the lease to run out."""
    with receiving() as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"])})
        shop.apply()
        with leading(shop) as daemon:
            daemon.terminate()
            assert daemon.wait() == 0
        with leading(shop) as daemon:
            assert not daemon.events("standing_by")
