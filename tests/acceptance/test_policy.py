"""Receivers that refuse, are sick, or ask to be left alone: what becomes of the batch, the webhook, and the others."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import Switch, first_then, receiving
from tests.acceptance.orders import NERVOUS, STEADY, accepted, ids_of, insert, letters, prepare, refusing
from tests.receivers import Received, Stream, answer, hang, raw


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


# -- the batch is to blame ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("poison", [{1}, {50}, {100}, {17, 18}, {1, 100}])
def test_of_a_batch_that_is_refused_only_the_poisonous_change_is_set_aside(shop, status, poison):
    with receiving(refusing(poison, status)) as inbox:
        prepare(shop, inbox.url, concurrency=1)
        with leading(shop):
            insert(shop, 1, 100)
            eventually(lambda: len(accepted(inbox, poison)) == 100 - len(poison), what="the rest of the batch")
            eventually(lambda: letters(shop) == [("rejected", 1, status)] * len(poison), what="the letters alone")
            assert sorted(accepted(inbox, poison)) == sorted(set(range(1, 101)) - poison)
            assert accepted(inbox, poison) == sorted(accepted(inbox, poison))
            # Halving: the batch, and two halves at each of seven levels, for each poisonous change.
            assert len(inbox.arrivals) <= 1 + 14 * len(poison)
            insert(shop, 101, 101)
            eventually(lambda: 101 in accepted(inbox, poison), what="what comes later")


def test_a_change_at_which_the_receiver_breaks_is_set_aside_while_others_get_through(shop):
    with receiving(refusing({7}, 500)) as inbox:
        prepare(shop, inbox.url, concurrency=4, retry={"schedule": ["20ms"] * 200, "jitter": 0}, breaker=STEADY)
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            daemon.until("dead_letter")
            insert(shop, 11, 11)
            eventually(lambda: len(set(accepted(inbox, {7}))) == 10, what="all others")
            eventually(lambda: letters(shop) == [("rejected", 1, 500)], what="the letter alone")


def test_of_a_receiver_that_refuses_all_only_a_few_changes_are_set_aside(shop):
    with receiving(answer(400)) as inbox:
        prepare(shop, inbox.url, breaker={"failures": 3, "pause": "1h", "longest_pause": "1h"})
        with leading(shop) as daemon:
            insert(shop, 1, 100)
            eventually(lambda: daemon.metric("cdc_hooks_webhook_state", state="open") == 1, what="an open breaker")
            # The last one is written when the breaker is open already.
            daemon.terminate()
            assert daemon.wait() == 0
        assert letters(shop).count(("rejected", 1, 400)) == 3
        assert len(inbox.arrivals) < 20


def test_a_batch_that_is_too_large_goes_in_parts(shop):
    async def small(request: Received, stream: Stream) -> bool:
        return await answer(413 if len(ids_of(request)) > 30 else 200)(request, stream)

    with receiving(small) as inbox:
        prepare(shop, inbox.url, concurrency=1)
        with leading(shop):
            insert(shop, 1, 100)
            inbox.wait(lambda: len(inbox.arrivals) == 7)
            eventually(lambda: letters(shop) == [], what="nothing set aside")
            assert [len(ids_of(one.request)) for one in inbox.arrivals] == [100, 50, 25, 25, 50, 25, 25]


def test_a_change_that_is_too_large_alone_is_set_aside(shop):
    with receiving(first_then(1, answer(413), answer())) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            insert(shop, 1, 1)
            eventually(lambda: letters(shop) == [("rejected", 1, 413)], what="the letter")
            insert(shop, 2, 2)
            inbox.until(2)


def test_a_kill_in_the_midst_of_halving_sends_no_part_again_that_arrived(shop):
    """The second half of the batch is refused, then hangs; the daemon is killed there, and another goes on."""
    gate = Switch(hang())

    async def behave(request: Received, stream: Stream) -> bool:
        rows = ids_of(request)
        if rows == set(range(1, 101)):
            return await answer(400)(request, stream)
        return await (answer() if max(rows) <= 50 else gate)(request, stream)

    with receiving(behave) as inbox:
        prepare(shop, inbox.url, concurrency=1)
        with leading(shop) as daemon:
            insert(shop, 1, 100)
            inbox.wait(lambda: len(inbox.arrivals) == 3)
            eventually(lambda: ("part", 50, 200) in letters(shop), what="the note of the first half")
            daemon.kill()
            shop.let_the_lease_run_out()
        gate.turn()
        with leading(shop):
            inbox.wait(lambda: len(inbox.arrivals) == 4)
            eventually(lambda: letters(shop) == [], what="an end")
            insert(shop, 101, 101)
            inbox.until(101)
    assert [min(ids_of(one.request)) for one in inbox.arrivals] == [1, 1, 51, 51, 101]


def test_later_changes_of_a_row_wait_for_one_that_was_set_aside_where_that_is_wanted(shop):
    refuses = {7}
    with receiving(refusing(refuses, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            eventually(lambda: letters(shop) == [("rejected", 1, 422)], what="the letter")
            asked = len(inbox.arrivals)
            shop.execute("UPDATE orders SET number = 1 WHERE id IN (6, 7, 8)")
            eventually(lambda: ("held", 1, None) in letters(shop), what="a change that is held")
            shop.execute("DELETE FROM orders WHERE id = 7")
            eventually(lambda: letters(shop).count(("held", 1, None)) == 2, what="another")
            shop.execute("UPDATE orders SET number = 2 WHERE id = 6")
            eventually(lambda: accepted(inbox, refuses).count(6) == 3, what="other rows")
            # Neither a restart lets them go,
            daemon.kill()
            shop.let_the_lease_run_out()
        with leading(shop):
            shop.execute("INSERT INTO orders VALUES (7, 3)")
            eventually(lambda: letters(shop).count(("held", 1, None)) == 3, what="yet another")
            assert all(7 not in ids_of(one.request) for one in inbox.arrivals[asked:])
            # but who resends them, in their order; then the row goes on.
            refuses.clear()
            done = shop.run("deliveries", "resend", "--webhook", "w", "--yes")
            assert done.returncode == 0, done.stderr + done.stdout
            assert [one.action for one in inbox.arrivals if ids_of(one.request) == {7}][-4:] == [
                *("insert", "update", "delete", "insert")
            ]
            shop.execute("UPDATE orders SET number = 4 WHERE id = 7")
            eventually(lambda: letters(shop) == [], what="no letters")
            eventually(lambda: inbox.arrivals[-1].items[0]["data"]["number"] == 4, what="the row's next change")


# -- the endpoint is sick -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sick", [answer(503), answer(401), raw(reset=True), answer(302, b"", "location: /x")])
def test_a_sick_endpoint_keeps_its_place_however_long_it_takes(shop, sick):
    gate = Switch(sick)
    with receiving(gate) as inbox, receiving() as other:
        sections = {"retry": {"schedule": ["20ms"], "jitter": 0}, "breaker": NERVOUS}
        shop.configure(
            {name: webhook(one.url, ["public.orders"], **sections) for name, one in {"w": inbox, "well": other}.items()}
        )
        shop.apply()
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            eventually(lambda: daemon.metric("cdc_hooks_webhook_state", webhook="w", state="open") == 1)
            eventually(lambda: shop.webhook_status("w")["state"] == "open", what="the state in the database")
            tried = len(inbox.arrivals)
            insert(shop, 2, 1000)
            other.until(1000)
            inbox.wait(lambda: len(inbox.arrivals) >= tried + 3)
            assert letters(shop)[0][0] == "pending"
            assert daemon.metric("cdc_hooks_webhook_state", webhook="well", state="active") == 1
            gate.turn()
            inbox.until(1000)
            eventually(lambda: daemon.metric("cdc_hooks_webhook_state", webhook="w", state="active") == 1)
            eventually(lambda: letters(shop) == [], what="nothing set aside")
    assert inbox.most_in_flight <= 4


def test_half_of_all_requests_fail_and_all_arrives_in_order(shop):
    chance = random.Random(7)

    async def flaky(request: Received, stream: Stream) -> bool:
        failures = (answer(500), answer(503), answer(429), raw(reset=True), raw(b"HTTP/1.1 5"))
        return await (answer() if chance.random() < 0.5 else chance.choice(failures))(request, stream)

    with receiving(flaky) as inbox:
        prepare(
            shop,
            inbox.url,
            batch={"max_events": 10},
            retry={"schedule": ["5ms"] * 40},
            breaker={"failures": 5, "pause": "20ms", "longest_pause": "50ms", "drain_rate": 1000},
        )
        with leading(shop):
            insert(shop, 1, 200)
            for n in range(1, 6):
                shop.execute("UPDATE orders SET number = %s", n)
            inbox.until(1200, 60)
            eventually(lambda: letters(shop) == [], what="nothing set aside")
    seen: dict[int, int] = {}
    for arrival in inbox.arrivals:
        for item in arrival.items:
            number = int(item["eventId"].partition("-")[2])
            # Never an earlier change of a row after a later one, but for the same ones again.
            assert item["data"]["number"] >= seen.get(item["rowId"], 0), number
            seen[item["rowId"]] = max(seen.get(item["rowId"], 0), item["data"]["number"])


def test_too_many_requests_lead_to_fewer_at_a_time(shop):
    async def narrow(request: Received, stream: Stream) -> bool:
        return await answer(429 if inbox.in_flight > 1 else 200)(request, stream)

    with receiving(narrow) as inbox:
        prepare(
            shop, inbox.url, batch={"max_events": 1}, concurrency=8, retry={"schedule": ["10ms"] * 50}, breaker=STEADY
        )
        with leading(shop):
            insert(shop, 1, 300)
            inbox.until(300)
            eventually(lambda: letters(shop) == [], what="nothing set aside")


def test_a_rate_limit_is_kept(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url, batch={"max_events": 1}, concurrency=8, rate_limit=50)
        with leading(shop):
            began = time.monotonic()  # the first may be late, too
            insert(shop, 1, 26)
            inbox.until(26)
    assert inbox.arrivals[-1].at - began >= 25 / 50


# -- pauses ---------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_is_gone_pauses_its_webhook_until_it_is_resumed(shop):
    with receiving(first_then(1, answer(410), answer())) as inbox:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            assert daemon.until("paused")["reason"] == "answered 410"
            insert(shop, 2, 5)
            told = eventually(lambda: (one := shop.webhook_status("w"))["state"] == "paused" and one, what="a pause")
            assert "paused" in told["summary"]
            assert "answered 410" in told["summary"]
            assert "cdc-hooks resume w" in told["summary"]
            daemon.terminate()
            assert daemon.wait() == 0
        with leading(shop) as daemon:
            eventually(lambda: daemon.metric("cdc_hooks_webhook_state", webhook="w", state="paused") == 1)
            assert len(inbox.arrivals) == 1
            done = shop.run("resume", "w")
            assert done.returncode == 0, done.stderr
            inbox.until(5)
            eventually(lambda: shop.webhook_status("w")["state"] == "active", what="an active webhook")
    assert inbox.arrivals[0].id == inbox.arrivals[1].id


def test_five_strikes(shop):
    with receiving(first_then(5, answer(204), answer(201))) as inbox:
        prepare(shop, inbox.url, preset="five-strikes", retry={"schedule": ["10ms"]})
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            assert "given up on after 5 attempts: answered 204" in daemon.until("paused")["reason"]
            assert len(inbox.arrivals) == 5
            assert [state for state, _, _ in letters(shop)] == ["pending"]
            assert shop.run("resume", "w").returncode == 0
            inbox.wait(lambda: len(inbox.arrivals) == 6)
            eventually(lambda: letters(shop) == [], what="a delivery")


@pytest.mark.parametrize("status", [400, 500])
def test_five_strikes_of_a_batch_are_five_requests(shop, status):
    with receiving(first_then(5, answer(status), answer())) as inbox:
        prepare(shop, inbox.url, preset="five-strikes", retry={"schedule": ["10ms"]})
        with leading(shop) as daemon:
            insert(shop, 1, 8)
            assert daemon.until("paused")["reason"] == f"given up on after 5 attempts: answered {status}"
            assert [ids_of(one.request) for one in inbox.arrivals] == [set(range(1, 9))] * 5
            assert shop.run("resume", "w").returncode == 0
            inbox.until(8)


def test_deliveries_that_are_given_up_on_in_a_row_pause_the_webhook(shop):
    with receiving(first_then(6, answer(500), answer())) as inbox:
        prepare(shop, inbox.url, concurrency=1, breaker="off", pause_after=3, retry={"schedule": ["10ms"], "jitter": 0})
        with leading(shop) as daemon:
            for number in range(1, 5):
                insert(shop, number, number)
                if number < 4:
                    inbox.wait(lambda number=number: len(inbox.arrivals) == 2 * number)
            assert daemon.until("paused")["reason"] == "3 deliveries in a row were given up on"
            assert [state for state, _, _ in letters(shop)] == ["dead"] * 3
            assert len(inbox.arrivals) == 6
            assert shop.run("resume", "w").returncode == 0
            inbox.until(4)


def test_who_paused_by_itself_may_find_that_it_is_well_again(shop):
    with receiving(first_then(3, answer(410), answer())) as inbox:
        prepare(shop, inbox.url, probe_paused="50ms")
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            inbox.wait(lambda: len(inbox.arrivals) == 4)
            insert(shop, 2, 2)
            inbox.until(2)
            eventually(lambda: shop.webhook_status("w")["state"] == "active", what="an active webhook")
            assert shop.value("SELECT paused_at IS NULL FROM cdc_hooks.webhook")
            assert daemon.events("paused")


def test_fire_and_forget(shop):
    with receiving(first_then(2, answer(500), answer())) as inbox:
        prepare(shop, inbox.url, preset="fire-and-forget", retry={"schedule": ["10ms"]})
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            daemon.until("dropped")
            insert(shop, 2, 2)
            inbox.until(2)
            assert letters(shop) == []
            gaps = shop.execute("SELECT upto_id - after_id, reason, told_at IS NOT NULL FROM cdc_hooks.gap")
            assert gaps == [(1, "given up on after 2 attempts: answered 500", True)]
            assert daemon.metric("cdc_hooks_deliveries_total", webhook="w", outcome="dropped") == 1
    assert [one.action for one in inbox.arrivals] == ["insert"] * 3


# -- acknowledgement in part ----------------------------------------------------------------------------------------


def test_only_the_events_that_a_success_names_as_failed_are_sent_again(shop):
    async def pick(request: Received, stream: Stream) -> bool:
        failed = [item["eventId"] for item in request.json["items"] if item["rowId"] in {3, 5}]
        return await answer(200, json.dumps({"failed": failed if len(inbox.arrivals) < 3 else []}).encode())(
            request, stream
        )

    with receiving(pick) as inbox:
        prepare(shop, inbox.url, partial_ack=True)
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            inbox.wait(lambda: len(inbox.arrivals) == 3)
            eventually(lambda: daemon.metric("cdc_hooks_changes_delivered_total", webhook="w") == 10)
            eventually(lambda: letters(shop) == [], what="an end")
            insert(shop, 11, 11)
            inbox.until(11)
    assert [sorted(ids_of(one.request)) for one in inbox.arrivals] == [list(range(1, 11)), [3, 5], [3, 5], [11]]
    assert len({one.id for one in inbox.arrivals}) == 3


def test_what_is_left_takes_the_place_of_the_whole_in_the_ledger(shop):
    async def pick(request: Received, stream: Stream) -> bool:
        failed = [item["eventId"] for item in request.json["items"] if item["rowId"] == 3]
        status = 503 if len(inbox.arrivals) == 1 else 200
        return await answer(status, json.dumps({"failed": failed}).encode())(request, stream)

    with receiving(pick) as inbox:
        prepare(shop, inbox.url, partial_ack=True, retry={"schedule": ["20ms", "20ms", "1h"], "jitter": 0})
        with leading(shop):
            insert(shop, 1, 10)
            inbox.wait(lambda: len(inbox.arrivals) == 3)
            eventually(lambda: letters(shop) == [("split", 10, 200), ("pending", 1, 200)], what="one that is open")


@pytest.mark.parametrize("body", [b"thank you", b'{"failed": ["9-9"]}', b'{"failed": "all"}', b"x" * 20_000])
def test_an_acknowledgement_that_is_not_understood_is_one_with_a_warning(shop, body):
    with receiving(answer(200, body)) as inbox:
        prepare(shop, inbox.url, partial_ack=True)
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            daemon.until("acknowledgement_not_understood")
            insert(shop, 11, 11)
            inbox.until(11)
            assert inbox.duplicates() == 0


def test_without_the_option_no_body_of_a_success_is_read(shop):
    with receiving(answer(200, b'{"failed": ["1-1"]}')) as inbox:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            insert(shop, 2, 2)
            inbox.until(2)
            assert not daemon.events("acknowledgement_not_understood")
    assert inbox.duplicates() == 0
