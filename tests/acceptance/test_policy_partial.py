"""Acknowledgement in part: order within a batch, a restart before the rest has arrived, and long answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import Inbox, Switch, receiving
from tests.acceptance.orders import SOON, STEADY, ids_of, insert, letters, prepare
from tests.receivers import Behaviour, Received, Stream, answer, endless, hang, raw

Item = dict[str, Any]


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def naming(fails: Callable[[Item], bool]) -> Behaviour:
    """Accepts a batch, but for such items."""

    async def behave(request: Received, stream: Stream) -> bool:
        failed = [item["eventId"] for item in request.json["items"] if fails(item)]
        return await answer(200, json.dumps({"failed": failed}).encode())(request, stream)

    return behave


def once(first: Behaviour, then: Behaviour | None = None) -> Behaviour:
    came = 0

    async def behave(request: Received, stream: Stream) -> bool:
        nonlocal came
        came += 1
        return await (first if came == 1 else then or answer())(request, stream)

    return behave


def numbers(inbox: Inbox) -> list[list[int]]:
    return [[item["data"]["number"] for item in one.items] for one in inbox.arrivals]


# -- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ordering", "again"), [("key", [11, 13, 14]), ("strict", [11, 13, 14]), ("none", [11])], ids=str
)
def test_later_changes_of_a_row_come_again_after_the_one_that_failed(shop, ordering, again):
    """Orders 1 and 2 are updated in turn, then 1 gets the number 3; all in one batch."""
    with receiving(once(naming(lambda item: item["data"]["number"] == 11))) as inbox:
        tables = {"public.orders": {"actions": ["update"]}}
        shop.configure({"w": webhook(inbox.url, tables, partial_ack=True, retry=SOON, ordering=ordering)})
        shop.apply()
        insert(shop, 1, 2)
        with leading(shop) as daemon:
            shop.execute(
                "BEGIN; UPDATE orders SET number = 10 WHERE id = 1; UPDATE orders SET number = 11 WHERE id = 1;"
                " UPDATE orders SET number = 12 WHERE id = 2; UPDATE orders SET number = 13, id = 3 WHERE id = 1;"
                " UPDATE orders SET number = 14 WHERE id = 3; COMMIT"
            )
            inbox.wait(lambda: len(inbox.arrivals) == 2)
            eventually(lambda: daemon.metric("cdc_hooks_changes_delivered_total", webhook="w") == 5)
            eventually(lambda: letters(shop) == [], what="an end")
    assert numbers(inbox) == [[10, 11, 12, 13, 14], again]


def test_what_fails_to_the_end_is_set_aside_with_what_comes_after_it(shop):
    with receiving(naming(lambda item: item["data"]["number"] == 11)) as inbox:
        shop.configure(
            {"w": webhook(inbox.url, {"public.orders": {"actions": ["update"]}}, partial_ack=True, retry=SOON)}
        )
        shop.apply()
        insert(shop, 1, 2)
        with leading(shop):
            shop.execute(
                "BEGIN; UPDATE orders SET number = 11 WHERE id = 1; UPDATE orders SET number = 12 WHERE id = 2;"
                " UPDATE orders SET number = 13 WHERE id = 1; COMMIT"
            )
            eventually(lambda: letters(shop) == [("dead", 2, 200)], what="a letter")
            inbox.then = answer()
            assert shop.run("deliveries", "resend", "--webhook", "w", "--yes").returncode == 0
    assert numbers(inbox) == [[11, 12, 13], *[[11, 13]] * 5]


@pytest.mark.parametrize("before", [[], [answer(503)]], ids=["at once", "after a failure"])
def test_what_has_arrived_is_recorded_with_what_was_sent_again(shop, before):
    with receiving(naming(lambda item: item["rowId"] > 8)) as inbox:
        for first in before:
            inbox.then = once(first, inbox.then)
        prepare(shop, inbox.url, partial_ack=True, retry={"schedule": ["20ms", "20ms", "1h"], "jitter": 0})
        with leading(shop):
            insert(shop, 1, 10)
            inbox.wait(lambda: len(inbox.arrivals) >= 2 + len(before))
            eventually(lambda: letters(shop)[1:] == [("pending", 2, 200)], what="what is left")
            inbox.then = answer()
            assert shop.run("resume", "w").returncode == 0
            eventually(lambda: letters(shop) == [], what="an end")
            records = "SELECT message_id, state, row_ids, event_count, first_event, last_event, attempts, last_error"
            query = f"{records} FROM cdc_hooks.delivery_log ORDER BY number"
            first, second = eventually(lambda: found if len(found := shop.execute(query)) == 2 else None)
    sent = inbox.arrivals[len(before)]
    epoch = sent.items[0]["eventId"].partition("-")[0]
    events = [f"{epoch}-{number}" for number in sent.events]
    error = "answered 200, but 2 of the events must be sent again"
    rows = "[1,2,3,4,5,6,7,8]"
    assert first == (sent.id, "delivered", rows, 8, events[0], events[7], 1 + len(before), error)
    assert second[:6] == (inbox.arrivals[-1].id, "delivered", "[9,10]", 2, events[8], events[9])
    assert shop.value("SELECT count(*) FROM cdc_hooks.attempt WHERE status = 200") > 0


# -- restarts -------------------------------------------------------------------------------------------------------


def test_a_kill_after_answers_in_part_sends_again_only_what_was_named(shop):
    """Ten, of which five fail, then two, then the answer hangs; the daemon is killed there, and another goes on."""
    gate = Switch(hang())

    async def behave(request: Received, stream: Stream) -> bool:
        left = {10: {1, 3, 5, 7, 9}, 5: {3, 5}}.get(len(ids_of(request)))
        return await (gate if left is None else naming(lambda item: item["rowId"] in left))(request, stream)

    with receiving(behave) as inbox:
        prepare(shop, inbox.url, partial_ack=True, retry={"schedule": ["20ms"] * 9, "jitter": 0})
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            inbox.wait(lambda: len(inbox.arrivals) == 3)
            assert letters(shop) == [("split", 10, 200), ("pending", 2, 200)]
            daemon.kill()
            shop.let_the_lease_run_out()
        gate.turn()
        with leading(shop):
            inbox.wait(lambda: len(inbox.arrivals) == 4)
            eventually(lambda: letters(shop) == [], what="an end")
            insert(shop, 11, 11)
            inbox.wait(lambda: len(inbox.arrivals) == 5)
    assert [sorted(ids_of(one.request)) for one in inbox.arrivals[1:]] == [[1, 3, 5, 7, 9], [3, 5], [3, 5], [11]]
    assert inbox.arrivals[3].id == inbox.arrivals[2].id


def test_a_kill_keeps_the_place_in_the_schedule_of_what_was_named(shop):
    with receiving(naming(lambda item: item["rowId"] == 3)) as inbox:
        prepare(shop, inbox.url, partial_ack=True, retry={"schedule": ["20ms", "1h"], "jitter": 0})
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            eventually(lambda: letters(shop) == [("split", 10, 200), ("pending", 1, 200)], what="two attempts")
            inbox.wait(lambda: len(inbox.arrivals) == 2)
            eventually(lambda: shop.value("SELECT attempts FROM cdc_hooks.delivery WHERE state = 'pending'") == 2)
            daemon.kill()
            shop.let_the_lease_run_out()
        with leading(shop) as daemon:
            insert(shop, 11, 11)
            # Rows of one page are dealt to lanes anew: the new row waits for the round that was begun.
            eventually(lambda: shop.webhook_status("w")["next_attempt_at"] is not None, what="the next attempt")
            assert len(inbox.arrivals) == 2
            assert shop.run("resume", "w").returncode == 0
            eventually(lambda: letters(shop) == [("dead", 1, 200)], what="the end of the schedule")
            inbox.until(11)
    assert [sorted(ids_of(one.request)) for one in inbox.arrivals] == [list(range(1, 11)), [3], [3], [11]]


def test_what_was_named_may_be_halved_and_is_not_sent_again_after_a_kill(shop):
    gate = Switch(hang())

    async def behave(request: Received, stream: Stream) -> bool:
        rows = ids_of(request)
        if len(rows) == 10:
            return await naming(lambda item: item["rowId"] > 6)(request, stream)
        if rows == {7, 8, 9, 10}:
            return await answer(422)(request, stream)
        return await (gate if 10 in rows else answer())(request, stream)

    with receiving(behave) as inbox:
        prepare(shop, inbox.url, partial_ack=True, concurrency=1, breaker=STEADY)
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            inbox.wait(lambda: any(ids_of(one.request) == {9, 10} for one in inbox.arrivals))
            eventually(lambda: ("part", 2, 200) in letters(shop), what="the note of the first half")
            daemon.kill()
            shop.let_the_lease_run_out()
        before = len(inbox.arrivals)
        gate.turn()
        with leading(shop):
            insert(shop, 11, 11)
            inbox.until(11)
            eventually(lambda: letters(shop) == [], what="an end")
    assert [sorted(ids_of(one.request)) for one in inbox.arrivals[before:]] == [[9, 10], [11]]


# -- answers --------------------------------------------------------------------------------------------------------


def _long(request: Received) -> bytes:
    """Names all events, each on a line of its own, with a reason."""
    failed = [item["eventId"] for item in request.json["items"]]
    return json.dumps({"failed": failed, "why": dict.fromkeys(failed, "x" * 100)}, indent=8).encode()


@pytest.mark.parametrize("pause_s", [0, 0.5])
def test_an_answer_is_read_to_its_end_however_long_and_late_it_is(shop, pause_s):
    async def all_failed(request: Received, stream: Stream) -> bool:
        body = _long(request)
        assert len(body) > 100_000
        stream.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        await stream.drain()
        for half in (body[:70_000], body[70_000:]):
            await asyncio.sleep(pause_s)
            stream.write(half)
            await stream.drain()
        return True

    with receiving(once(all_failed)) as inbox:
        prepare(shop, inbox.url, partial_ack=True, batch={"max_events": 1000, "max_bytes": "1MiB"})
        with leading(shop) as daemon:
            insert(shop, 1, 1000)
            inbox.wait(lambda: len(inbox.arrivals) == 2)
            eventually(lambda: letters(shop) == [], what="an end")
            assert not daemon.events("acknowledgement_not_understood")
    assert ids_of(inbox.arrivals[1].request) == set(range(1, 1001))


def test_an_answer_that_ends_with_the_connection_is_read_to_that_end(shop):
    async def fails(request: Received, stream: Stream) -> bool:
        stream.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.sleep(0.2)
        stream.write(json.dumps({"failed": [request.json["items"][2]["eventId"]]}).encode())
        return False

    with receiving(once(fails)) as inbox:
        prepare(shop, inbox.url, partial_ack=True)
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            inbox.wait(lambda: len(inbox.arrivals) == 2)
            assert not daemon.events("acknowledgement_not_understood")
    assert ids_of(inbox.arrivals[1].request) == {3}


@pytest.mark.parametrize("body", [b"", b'{"failed": ["1-1"'])
def test_an_answer_that_breaks_off_is_an_acknowledgement_with_a_warning(shop, body):
    with receiving(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n" + body)) as inbox:
        prepare(shop, inbox.url, partial_ack=True)
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            assert "did not come to its end" in daemon.until("acknowledgement_not_understood")["reason"]
            insert(shop, 11, 11)
            inbox.until(11)
    assert inbox.duplicates() == 0


def test_an_answer_that_never_ends_is_an_acknowledgement_with_a_warning(shop):
    """Long before the time of the attempt is over."""
    with receiving(once(endless(b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n"))) as inbox:
        prepare(shop, inbox.url, partial_ack=True, timeout={"total": "1h"})
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            assert "too long" in daemon.until("acknowledgement_not_understood")["reason"]
            insert(shop, 11, 11)
            inbox.until(11)
    assert inbox.duplicates() == 0


def test_a_resend_and_a_replay_of_which_events_are_named_have_failed(shop):
    with receiving(naming(lambda item: item["rowId"] == 3)) as inbox:
        prepare(shop, inbox.url, partial_ack=True, retry={"schedule": [], "jitter": 0})
        with leading(shop):
            insert(shop, 1, 10)
            eventually(lambda: letters(shop) == [("dead", 1, 200)], what="a letter")
            done = shop.run("deliveries", "resend", "--webhook", "w", "--yes")
            assert done.returncode == 1
            assert "failed, answered 200, but 1 of 1 events failed" in done.stdout
            assert letters(shop) == [("dead", 1, 200)]
            inbox.then, before = once(inbox.then), len(inbox.arrivals)
            done = shop.run("replay", "w", "--from", "1h", "--yes")
            assert done.returncode == 0, done.stderr
    assert [sorted(ids_of(one.request)) for one in inbox.arrivals[before:]] == [list(range(1, 11))] * 2
