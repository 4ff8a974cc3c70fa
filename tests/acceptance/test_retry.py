"""Endpoints that fail: tried again on schedule, across restarts, given up on with the body kept."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import Gate, first_then, receiving
from tests.receivers import answer, hang, raw

EXACT = {"jitter": 0}


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def insert(shop: Site, *ids: int) -> None:
    for number in ids:
        shop.execute("INSERT INTO orders VALUES (%s, 0)", number)


FAILURES = {
    "internal-error": (answer(500), "answered 500"),
    "too-many": (answer(429), "answered 429"),
    "not-found": (answer(404), "answered 404"),
    "reset": (raw(reset=True), ""),
    "no-http": (raw(b"nonsense\r\n\r\n"), "not an HTTP answer"),
    "redirect": (answer(302, b"", "location: http://elsewhere.example/"), "redirected to http://elsewhere.example/"),
}


def test_a_failed_attempt_is_made_again(shop):
    with ExitStack() as stack:
        inboxes = {
            name: stack.enter_context(receiving(first_then(2, failing, answer())))
            for name, (failing, _) in FAILURES.items()
        }
        retry = {"schedule": ["50ms", "50ms"], **EXACT}
        shop.configure({name: webhook(one.url, ["public.orders"], retry=retry) for name, one in inboxes.items()})
        shop.apply()
        daemon = stack.enter_context(leading(shop))
        insert(shop, 1)
        for inbox in inboxes.values():
            inbox.wait(lambda inbox=inbox: len(inbox.arrivals) == 3)
        insert(shop, 2)
        for inbox in inboxes.values():
            inbox.until(2)
        eventually(lambda: shop.value("SELECT count(*) FROM cdc_hooks.delivery") == 0, what="an empty ledger")
        for name, (_, error) in FAILURES.items():
            failed = daemon.events("attempt_failed", webhook=name)
            assert [line["attempt"] for line in failed] == [1, 2]
            assert failed[0]["error"]
            assert error in failed[0]["error"]
            first = inboxes[name].arrivals[:3]
            assert len({arrival.id for arrival in first}) == 1
            # A fresh signature for each attempt, over the same bytes.
            assert all(arrival.request.verified for arrival in first)


def test_retry_after_is_respected(shop):
    with receiving(first_then(1, answer(503, b"", "retry-after: 2"), answer())) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], retry={"schedule": ["10ms"], **EXACT})})
        shop.apply()
        with leading(shop):
            insert(shop, 1)
            inbox.wait(lambda: len(inbox.arrivals) == 2)
    assert inbox.arrivals[1].at - inbox.arrivals[0].at >= 1.99


def test_a_restart_goes_on_where_the_schedule_was(shop):
    schedule = ["50ms", "8s", "50ms"]
    with receiving(first_then(3, answer(500), answer())) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], retry={"schedule": schedule, **EXACT})})
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1)
            daemon.until("attempt_failed", attempt=2)
            told = eventually(
                lambda: one if "2 times" in (one := shop.webhook_status("w"))["summary"] else None, what="the record"
            )
            assert told["next_attempt_at"]
            assert "failing: answered 500" in told["summary"]
            daemon.kill()
            shop.let_the_lease_run_out()
        insert(shop, 2)
        with leading(shop) as daemon:
            assert daemon.until("attempt_failed")["attempt"] == 3
            inbox.until(2)
    second, third = inbox.arrivals[1:3]
    assert third.at - second.at >= 7.9
    assert [arrival.id for arrival in inbox.arrivals[:4]] == [second.id] * 4
    assert inbox.values("id")[-1] == 2


def test_what_is_given_up_on_is_kept_and_the_rest_goes_on(shop):
    with receiving(first_then(3, answer(500, b"out of order"), answer())) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], retry={"schedule": ["20ms", "20ms"], **EXACT})})
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1)
            daemon.until("dead_letter", attempt=3)
            insert(shop, 2)
            inbox.until(2)
            kept = shop.execute("SELECT message_id, state, body, attempts, last_status FROM cdc_hooks.delivery")
            lost = inbox.arrivals[0]
            assert kept == [(lost.id, "dead", lost.body, 3, 500)]
            eventually(lambda: shop.webhook_status("w")["last_error"], what="the note of the error")
            told = shop.webhook_status("w")
            assert told["dead_letters"] == 1
            assert "1 dead letter" in told["summary"]
            assert "answered 500" in told["last_error"]
            assert daemon.metric("cdc_hooks_deliveries_total", webhook="w", outcome="dead_letter") == 1
            daemon.kill()
            shop.let_the_lease_run_out()
        # A dead letter is not sent again after a restart.
        insert(shop, 3)
        with leading(shop):
            inbox.until(3)
    assert [arrival.id for arrival in inbox.arrivals].count(lost.id) == 3


def test_later_changes_of_a_row_wait_for_the_earlier(shop):
    with receiving(first_then(2, answer(503), answer())) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], retry={"schedule": ["1s", "1s"], **EXACT})})
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1)
            daemon.until("attempt_failed", attempt=1)
            shop.execute("UPDATE orders SET number = 1; DELETE FROM orders")
            inbox.until(3)
    assert [arrival.action for arrival in inbox.arrivals] == ["insert"] * 3 + ["update", "delete"]


@pytest.mark.parametrize("sick", [hang(), answer(500)], ids=["hangs", "fails"])
def test_a_sick_endpoint_delays_no_other(shop, sick):
    # However long this takes here, the sick one is asked once.
    once = {"retry": {"schedule": ["1h"]}, "timeout": {"total": "1h"}}
    with receiving(sick) as bad, receiving() as good:
        shop.configure(
            {"bad": webhook(bad.url, ["public.orders"], **once), "good": webhook(good.url, ["public.orders"])}
        )
        shop.apply()
        with leading(shop):
            for number in range(1, 31):
                insert(shop, number)
                good.until(number)
            assert len(bad.arrivals) == 1
            told = {one["name"]: one for one in shop.status()["webhooks"]}
            assert told["bad"]["backlog"] >= 30
            eventually(lambda: shop.webhook_status("good")["delivered"] == 30, what="the note of 30 deliveries")
    assert good.duplicates() == 0


def test_an_endpoint_that_is_down_gets_everything_when_it_is_back(shop):
    gate = Gate()
    with receiving(gate) as inbox:
        shop.configure(
            {
                "w": webhook(
                    inbox.url,
                    ["public.orders"],
                    timeout={"connect": "200ms", "total": "300ms"},
                    retry={"schedule": ["50ms"] * 100},
                )
            }
        )
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1)
            assert "300" in daemon.until("attempt_failed")["error"] or daemon.events("attempt_failed")
            insert(shop, *range(2, 30))
            gate.open()
            inbox.until(29)
            assert shop.value("SELECT count(*) FROM cdc_hooks.delivery WHERE state = 'dead'") == 0
