"""Without faults: each change once, in the order that the webhook asks for."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import ExitStack

import pytest

from tests.acceptance.harness import Site, leading, webhook
from tests.acceptance.inbox import Inbox, receiving, slow

TABLES = ["public.orders", "public.notes"]
ORDERINGS = {
    "by-key": {"ordering": "key", "concurrency": 8, "batch": {"max_events": 5}},
    "strict": {"ordering": "strict", "concurrency": 8, "batch": {"max_events": 50}},
    "free": {"ordering": "none", "concurrency": 8, "batch": {"max_events": 5}},
    "lingering": {"ordering": "key", "batch": {"max_events": 1000, "max_wait": "300ms"}},
}


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, number int NOT NULL);"
        "CREATE TABLE notes (writer int, number int);"
        "INSERT INTO orders SELECT n, 0 FROM generate_series(1, 40) n"
    )
    return site


def write(shop: Site, writer: int, count: int) -> None:
    """One transaction after the other; each order's number only ever rises."""
    with shop.connect() as connection:
        for number in range(count):
            order = (number * 7 + writer) % 40 + 1
            connection.execute(
                "WITH changed AS (UPDATE orders SET number = number + 1 WHERE id = %s RETURNING id)"
                "INSERT INTO notes SELECT %s, %s FROM changed",
                (order, writer, number),
            )


def numbers_by_row(inbox: Inbox) -> dict[int, list[int]]:
    rows = defaultdict(list)
    for arrival in inbox.arrivals:
        if arrival.table == "orders":
            for item in arrival.items:
                rows[item["rowId"]].append(item["data"]["number"])
    return rows


def test_each_change_once_in_every_ordering(shop):
    with ExitStack() as stack:
        inboxes = {name: stack.enter_context(receiving(slow(0.01))) for name in ORDERINGS}
        shop.configure({name: webhook(inboxes[name].url, TABLES, **how) for name, how in ORDERINGS.items()})
        shop.apply()
        stack.enter_context(leading(shop))
        writers = [threading.Thread(target=write, args=(shop, n, 60)) for n in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        logged = {row[0] for row in shop.execute("SELECT id FROM cdc_hooks.change")}
        assert len(logged) == 480
        for inbox in inboxes.values():
            inbox.until_all(logged)
        # What nobody asked for would come late: one more change shows that all before it is over.
        shop.execute("DELETE FROM orders WHERE id = 40")
        for name, inbox in inboxes.items():
            inbox.until(481)
            assert inbox.duplicates() == 0, name

    for name in ("by-key", "strict", "lingering"):
        for numbers in numbers_by_row(inboxes[name]).values():
            assert numbers[:-1] == sorted(numbers[:-1]), name
    assert inboxes["strict"].most_in_flight == 1
    for name in ("by-key", "free"):
        assert 1 < inboxes[name].most_in_flight <= 8, name
    assert len(inboxes["lingering"].arrivals) < len(inboxes["strict"].arrivals)
    assert all(len({item["eventId"] for item in one.items}) <= 5 for one in inboxes["by-key"].arrivals)


def test_strict_is_the_order_of_the_log(shop):
    """One writer's changes of two tables arrive exactly in the order in which they were made."""
    with receiving(slow(0.01)) as inbox:
        shop.configure({"strict": webhook(inbox.url, TABLES, ordering="strict", batch={"max_events": 7})})
        shop.apply()
        with leading(shop):
            write(shop, 1, 100)
            with shop.connect() as connection:
                connection.execute("UPDATE orders SET number = number + 1 WHERE id <= 20")
            inbox.until(220)
    events = [event for arrival in inbox.arrivals for event in arrival.events]
    assert events == sorted(set(events))
    assert max(len(arrival.events) for arrival in inbox.arrivals) == 7


def test_a_change_goes_only_to_who_asked_for_it(shop):
    """Actions and fields are the webhook's own; a webhook that wants no data gets null."""
    with receiving() as updates, receiving() as ids, receiving() as bare:
        shop.configure(
            {
                "updates": webhook(updates.url, {"public.orders": {"actions": ["update"]}}),
                "ids": webhook(ids.url, {"public.orders": {"fields": ["id"]}}, client_code="7"),
                "bare": webhook(bare.url, {"public.orders": {"actions": ["delete"], "fields": []}}),
            }
        )
        shop.apply()
        with leading(shop):
            shop.execute("UPDATE orders SET number = 5 WHERE id = 1; DELETE FROM orders WHERE id IN (1, 2)")
            ids.until(3)
            updates.until(1)
            bare.until(2)
    assert [arrival.items[0]["data"] for arrival in updates.arrivals] == [{"id": 1, "number": 5}]
    assert sorted(ids.values("id")) == [1, 1, 2]
    assert {request.json["clientCode"] for request in ids.receiver.requests} == {"7"}
    assert [item["data"] for arrival in bare.arrivals for item in arrival.items] == [None, None]
