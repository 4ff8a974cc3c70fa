"""Where rules of the policy meet: outages and poison, pauses and what is in flight, letters and a failing ledger."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.acceptance.harness import Daemon, Site, eventually, leading, webhook
from tests.acceptance.inbox import Inbox, Switch, first_then, late, receiving
from tests.acceptance.orders import NERVOUS, SOON, STEADY, accepted, ids_of, insert, letters, prepare, refusing
from tests.receivers import Received, Stream, answer


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def numbers(inbox: Inbox) -> list[list[int]]:
    return [[item["data"]["number"] for item in one.items] for one in inbox.arrivals]


def until_open(daemon: Daemon) -> None:
    eventually(lambda: daemon.metric("cdc_hooks_webhook_state", webhook="w", state="open") == 1, what="an open breaker")


# -- letters --------------------------------------------------------------------------------------------------------


def test_a_letter_that_cannot_be_written_is_written_later_and_nothing_passes_it(shop):
    with receiving(first_then(1, answer(400), answer())) as inbox:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            with shop.connect(autocommit=False) as connection:
                connection.execute("LOCK TABLE cdc_hooks.delivery IN EXCLUSIVE MODE")
                insert(shop, 1, 1)
                daemon.until("ledger_not_written")
                insert(shop, 2, 2)
                assert len(inbox.arrivals) == 1
                connection.rollback()
            inbox.until(2)
            assert letters(shop) == [("rejected", 1, 400)]


def test_of_an_endpoint_that_fails_for_all_but_speaks_of_nothing_few_changes_are_set_aside(shop):
    with receiving(answer(500)) as inbox:
        prepare(shop, inbox.url, breaker={"failures": 5, "pause": "1h", "longest_pause": "1h"})
        with leading(shop) as daemon:
            insert(shop, 1, 100)
            until_open(daemon)
            # It is written when the breaker is open already.
            daemon.terminate()
            assert daemon.wait() == 0
    assert [one for one in letters(shop) if one[0] in {"dead", "rejected"}] == [("dead", 1, 500)]


def test_a_short_schedule_finds_the_one_change_too(shop):
    with receiving(refusing({7}, 500)) as inbox:
        options = {"concurrency": 4, "batch": {"max_events": 10}, "breaker": STEADY}
        prepare(shop, inbox.url, retry={"schedule": ["20ms"], "jitter": 0}, **options)
        with leading(shop):
            insert(shop, 1, 100)
            eventually(lambda: len(set(accepted(inbox, {7}))) == 99, what="all others")
            eventually(lambda: [count for _, count, _ in letters(shop)] == [1], what="one letter")


# -- outages and poison ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_change_at_which_the_receiver_breaks_does_not_keep_the_rest_for_ever(shop, status, concurrency):
    """Neither after an outage, nor if it looks as if the endpoint was sick."""
    sick = Switch(answer(503), refusing({7}, status))
    with receiving(sick) as inbox:
        options = {"concurrency": concurrency, "batch": {"max_events": 10}}
        prepare(shop, inbox.url, breaker=dict(NERVOUS, longest_pause="100ms", drain_rate=1000), **options)
        with leading(shop) as daemon:
            insert(shop, 1, 40)
            until_open(daemon)
            sick.turn()
            eventually(lambda: len(set(accepted(inbox, {7}))) == 39, what="all others")
            insert(shop, 41, 60)
            eventually(lambda: len(set(accepted(inbox, {7}))) == 59, what="what comes later")
            eventually(
                lambda: [one[:2] for one in letters(shop)] in ([("rejected", 1)], [("dead", 1)]), what="a letter"
            )


def test_requests_that_were_under_way_do_not_make_the_pause_longer(shop):
    began = time.monotonic()

    async def behave(request: Received, stream: Stream) -> bool:
        if time.monotonic() - began < 2.5:
            await asyncio.sleep(0.5)
            return await answer(503)(request, stream)
        return await answer()(request, stream)

    with receiving(behave) as inbox:
        breaker = {"failures": 5, "pause": "1s", "longest_pause": "1m", "drain_rate": 1000}
        prepare(shop, inbox.url, concurrency=16, batch={"max_events": 1}, breaker=breaker)
        with leading(shop):
            began = time.monotonic()
            insert(shop, 1, 16)
            inbox.wait(lambda: len(inbox.arrivals) > 18, 30)


def test_one_fault_after_an_outage_waits_by_the_beginning_of_the_schedule(shop):
    with receiving(first_then(4, answer(503), first_then(1, answer(500), answer()))) as inbox:
        retry = {"schedule": [*["20ms"] * 4, "2h"], "jitter": 0}
        prepare(shop, inbox.url, retry=retry, breaker={"failures": 50, "pause": "50ms", "longest_pause": "100ms"})
        with leading(shop):
            insert(shop, 1, 1)
            inbox.wait(lambda: len(inbox.arrivals) == 6)


def test_the_limit_after_an_outage_ends_although_there_is_always_more(shop):
    with receiving(first_then(3, answer(503), answer())) as inbox:
        prepare(shop, inbox.url, breaker=dict(NERVOUS, drain_rate=5))
        with leading(shop):
            insert(shop, 1, 1)
            inbox.wait(lambda: len(inbox.arrivals) >= 4)
            with shop.connect() as writer:
                for number in range(2, 250):
                    writer.execute("INSERT INTO orders VALUES (%s, 0)", (number,))
                    time.sleep(0.01)
            inbox.until(249)
    # At five a second it would have been fifteen or so.
    assert len(inbox.arrivals) > 50


# -- pauses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 410, 500])
def test_an_operators_pause_stands_whatever_was_in_flight(shop, status):
    go = threading.Event()

    async def behave(request: Received, stream: Stream) -> bool:
        while len(inbox.arrivals) == 1 and not go.is_set():
            await asyncio.sleep(0.02)
        return await answer(status if len(inbox.arrivals) == 1 else 200)(request, stream)

    with receiving(behave) as inbox:
        prepare(shop, inbox.url, probe_paused="100ms")
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            inbox.wait(lambda: len(inbox.arrivals) == 1)
            assert shop.run("pause", "w", "--reason", "a move").returncode == 0
            daemon.until("paused", reason="a move")
            go.set()
            insert(shop, 2, 2)
            threading.Event().wait(1)
            assert len(inbox.arrivals) == 1
            assert daemon.metric("cdc_hooks_webhook_state", webhook="w", state="paused") == 1
            assert shop.run("resume", "w").returncode == 0
            inbox.until(2)


def test_a_pause_is_heeded_while_a_round_is_finished_for_a_reload(shop):
    with receiving(late(0.1)) as inbox:
        prepare(shop, inbox.url, concurrency=1, batch={"max_events": 1})
        with leading(shop) as daemon:
            insert(shop, 1, 100)
            inbox.wait(lambda: len(inbox.arrivals) >= 3)
            prepare(shop, inbox.url, concurrency=1, batch={"max_events": 2})
            daemon.reload()
            daemon.until("reloading")
            assert shop.run("pause", "w").returncode == 0
            daemon.until("paused")
            came = len(inbox.arrivals)
            threading.Event().wait(1)
            assert len(inbox.arrivals) <= came + 1
            assert shop.run("resume", "w").returncode == 0
            inbox.until(100)


def test_who_paused_by_itself_probes_without_a_breaker_too(shop):
    with receiving(first_then(3, answer(500), answer())) as inbox:
        retry = {"schedule": ["20ms", "1h"], "max_attempts": 2, "jitter": 0, "on_exhausted": "pause"}
        prepare(shop, inbox.url, breaker="off", probe_paused="100ms", retry=retry)
        with leading(shop):
            insert(shop, 1, 1)
            inbox.wait(lambda: len(inbox.arrivals) == 4)
            eventually(lambda: shop.webhook_status("w")["state"] == "active", what="an active webhook")


# -- rows that are held ---------------------------------------------------------------------------------------------


async def _refuse_one(request: Received, stream: Stream) -> bool:
    bad = any(item["data"] and item["data"]["number"] == 1 for item in request.json["items"])
    return await answer(400 if bad else 200)(request, stream)


def test_later_changes_in_the_same_batch_are_held(shop):
    with receiving(_refuse_one) as inbox:
        shop.configure(
            {"w": webhook(inbox.url, {"public.orders": {"actions": ["update"]}}, on_poison="hold_row", retry=SOON)}
        )
        shop.apply()
        insert(shop, 1, 2)
        with leading(shop):
            shop.execute(
                "BEGIN; UPDATE orders SET number = 1 WHERE id = 1; UPDATE orders SET number = 2 WHERE id = 1;"
                " UPDATE orders SET number = 3; COMMIT"
            )
            eventually(lambda: sum(count for _, count, _ in letters(shop)) == 3, what="all of the row set aside")
            eventually(lambda: [3] in numbers(inbox), what="the other row")
    assert [one for one in numbers(inbox) if 1 not in one] == [[3]]


def test_a_new_key_is_held_with_the_old_one(shop):
    with receiving(_refuse_one) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            shop.execute("INSERT INTO orders VALUES (1, 1)")
            eventually(lambda: len(letters(shop)) == 1, what="a letter")
            shop.execute("UPDATE orders SET id = 5, number = 2")
            eventually(lambda: len(letters(shop)) == 2, what="a change that is held")
            shop.execute("UPDATE orders SET number = 3")
            eventually(lambda: len(letters(shop)) == 3, what="a change of the new key")
            assert len(inbox.arrivals) == 1


def test_a_kill_while_rows_are_held_sends_no_part_again_that_arrived(shop):
    gate = Switch(answer(503))

    async def behave(request: Received, stream: Stream) -> bool:
        if 1 in ids_of(request):
            return await answer(400)(request, stream)
        return await (answer() if max(ids_of(request)) <= 50 else gate)(request, stream)

    with receiving(behave) as inbox:
        prepare(shop, inbox.url, concurrency=1, on_poison="hold_row", breaker=STEADY)
        with leading(shop) as daemon:
            insert(shop, 1, 100)
            inbox.wait(lambda: any(ids_of(one.request) == set(range(51, 101)) for one in inbox.arrivals))
            eventually(lambda: any(state == "part" for state, _, _ in letters(shop)))
            daemon.kill()
            shop.let_the_lease_run_out()
        before = len(inbox.arrivals)
        gate.turn()
        with leading(shop):
            insert(shop, 101, 101)
            inbox.until(101)
    assert [min(ids_of(one.request)) for one in inbox.arrivals[before:]][-2:] == [51, 101]
    assert all(min(ids_of(one.request)) > 50 for one in inbox.arrivals[before:])
