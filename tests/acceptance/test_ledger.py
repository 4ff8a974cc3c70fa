"""The record of deliveries beside a running daemon: what it holds, and that nothing depends on it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.harness import Daemon, Site, eventually, leading, webhook
from tests.acceptance.inbox import Inbox, receiving
from tests.receivers import Behaviour, Received, Stream, answer

SOON = {"schedule": ["20ms"] * 5, "jitter": 0}


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def prepare(shop: Site, url: str, **ledger: Any) -> None:
    shop.configure({"w": webhook(url, ["public.orders"], retry=SOON)}, ledger=ledger)
    shop.apply()


def deliver(shop: Site, inbox: Inbox, *ids: int) -> None:
    """One after the other, each in a request of its own."""
    for number in ids:
        before = len(inbox.times)
        shop.execute("INSERT INTO orders VALUES (%s, 0)", number)
        inbox.until(before + 1)


def one_after_the_other(*statuses: int) -> Behaviour:
    left = [answer(status) for status in statuses]

    async def behave(request: Received, stream: Stream) -> bool:
        return await left.pop(0)(request, stream)

    return behave


def logged(shop: Site) -> list[tuple[Any, ...]]:
    return shop.execute("SELECT row_ids, state, attempts, body FROM cdc_hooks.delivery_log ORDER BY number")


def stop(daemon: Daemon) -> None:
    daemon.terminate()
    assert daemon.wait() == 0


@pytest.mark.parametrize("log", ["all", "rejected", "none"])
@pytest.mark.parametrize("bodies", ["all", "rejected"])
def test_what_is_recorded_is_a_choice(shop, log, bodies):
    with receiving(one_after_the_other(500, 200, 200, 422, 200)) as inbox:
        prepare(shop, inbox.url, log=log, bodies=bodies)
        with leading(shop) as daemon:
            deliver(shop, inbox, 1)
            inbox.wait(lambda: len(inbox.arrivals) == 2)
            deliver(shop, inbox, 2, 3)
            daemon.until("dead_letter")
            deliver(shop, inbox, 4)
            # What has not been written yet is, when it is told to stop.
            stop(daemon)
    recorded = [(keys, state, attempts, body is not None) for keys, state, attempts, body in logged(shop)]
    everything = [("[1]", "delivered", 2), ("[2]", "delivered", 1), ("[4]", "delivered", 1)]
    assert recorded == ([(*one, bodies == "all") for one in everything] if log == "all" else [])
    ((state, body),) = shop.execute("SELECT state, body FROM cdc_hooks.delivery")
    assert state == "rejected"
    assert body in {arrival.body for arrival in inbox.arrivals}
    assert shop.value("SELECT count(*) FROM cdc_hooks.attempt") == (0 if log == "none" else 2)


def test_a_record_that_cannot_be_inserted_is_lost_and_said_and_that_is_all(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            deliver(shop, inbox, 1)
            eventually(lambda: logged(shop), what="the record")
            shop.execute("REVOKE INSERT ON cdc_hooks.delivery_log FROM cdc_hooks_daemon")
            deliver(shop, inbox, 2)
            said = daemon.until("ledger_not_written")
            assert "permission denied" in said["error"]
            deliver(shop, inbox, 3, 4)
            eventually(lambda: daemon.metric("cdc_hooks_ledger_lost_total") == 3, what="three lost")
            shop.execute("GRANT INSERT ON cdc_hooks.delivery_log TO cdc_hooks_daemon")
            deliver(shop, inbox, 5)
            assert daemon.until("ledger_written_again")["lost"] == 3
            assert len(daemon.events("ledger_not_written")) == 1
            assert [keys for keys, *_ in logged(shop)] == ["[1]", "[5]"]
            stop(daemon)
        with leading(shop):
            deliver(shop, inbox, 6)
    assert inbox.duplicates() == 0


def test_partitions_that_somebody_dropped_are_made_again(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            deliver(shop, inbox, 1)
            eventually(lambda: logged(shop), what="the record")
            for (name,) in shop.execute("SELECT name FROM cdc_hooks.ledger_partitions()"):
                shop.execute(f"DROP TABLE cdc_hooks.{name}")
            deliver(shop, inbox, 2)
            eventually(lambda: [keys for keys, *_ in logged(shop)] == ["[2]"], what="the record")
            assert daemon.metric("cdc_hooks_ledger_lost_total") == 0
    assert inbox.duplicates() == 0


def test_the_daemon_keeps_the_budget(shop):
    fill = """
        INSERT INTO cdc_hooks.delivery_log (webhook_id, message_id, kind, state, table_name, action, row_ids,
                                            event_count, first_event, last_event, attempts, first_attempt_at,
                                            last_attempt_at)
        SELECT 1, repeat(md5(n::text), 9), 'normal', 'delivered', 't', 'insert', '[]', 1, '1-1', '1-1', 1, now(), now()
          FROM generate_series(1, 5000) n"""
    with receiving() as inbox:
        prepare(shop, inbox.url, max_bytes="1MiB")
        with leading(shop) as daemon:
            eventually(lambda: daemon.metric("cdc_hooks_ledger_bytes") > 0, what="the partitions")
            stop(daemon)
        shop.execute(fill)
        with leading(shop) as daemon:
            assert daemon.until("ledger_trimmed")["bytes"] <= 2**20
            assert daemon.metric("cdc_hooks_ledger_bytes") <= 2**20
            assert logged(shop) == []
            deliver(shop, inbox, 1)
            eventually(lambda: len(logged(shop)) == 1, what="the record")


def test_a_reload_changes_what_is_recorded(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url, log="none")
        with leading(shop) as daemon:
            deliver(shop, inbox, 1)
            shop.configure({"w": webhook(inbox.url, ["public.orders"], retry=SOON)}, ledger={"log": "all"})
            daemon.reload()
            daemon.until("reloading")
            deliver(shop, inbox, 2)
            eventually(lambda: [keys for keys, *_ in logged(shop)] == ["[2]"], what="the record")
