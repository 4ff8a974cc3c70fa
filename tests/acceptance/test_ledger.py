"""The record of deliveries beside a running daemon: what it holds, and that nothing depends on it."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cdc_hooks.config.credentials import signing_key
from cdc_hooks.deliver.sign import fingerprint
from tests.acceptance.harness import SECRET, Daemon, Site, eventually, leading, webhook
from tests.acceptance.inbox import Inbox, receiving
from tests.receivers import Behaviour, Received, Stream, answer

NEW_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
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


def test_it_says_with_what_a_delivery_was_made_also_when_that_has_changed_since(shop):
    old, new = (fingerprint(signing_key(secret)) for secret in (SECRET, NEW_SECRET))

    def configured(secret: list[str], fields: list[str] | None) -> dict[str, Any]:
        tables = {"public.orders": {} if fields is None else {"fields": fields}}
        options = {"auth": {"bearer": "tell-nobody-of-it"}, "headers": {"X-Source": "shop"}}
        return webhook(f"{inbox.url}?token=hush-hush", tables, secret=secret, **options)

    with receiving(answer(202, b"thanks", "x-request-id: r-1")) as inbox:
        shop.configure({"w": configured([SECRET], ["number", "id"])}, ledger={"bodies": "all"})
        shop.apply()
        with leading(shop) as daemon:
            deliver(shop, inbox, 1)
            stop(daemon)
        shop.configure({"w": configured([SECRET, NEW_SECRET], ["id"])}, ledger={"bodies": "all"})
        with leading(shop) as daemon:
            deliver(shop, inbox, 2)
            stop(daemon)
    shown = [shop.run("deliveries", "show", one.id, "--json").stdout for one in inbox.arrivals]
    assert "hush" not in "".join(shown)
    assert "tell-nobody" not in "".join(shown)
    first, second = map(json.loads, shown)
    assert (first["secrets"], second["secrets"]) == ([old], [old, new])
    assert (first["fields"], second["fields"]) == (["number", "id"], ["id"])
    assert first["url"] == f"{inbox.url}?**********"
    assert sorted(first["request_headers"]) == ["Authorization", "X-Source"]
    assert first["body"] == {"text": inbox.arrivals[0].body.decode()}
    assert "x-request-id: r-1" in first["response_headers"]
    assert (first["response_body"], first["last_status"]) == ({"text": "thanks"}, 202)
    assert [one["eventId"] for one in inbox.arrivals[0].items] == [first["first_event"]] == [first["last_event"]]
    assert 0 < first["duration_s"] < 20
    told = shop.run("deliveries", "show", second["message_id"]).stdout
    assert f"fingerprint {old} {new}" in told


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


def test_the_daemon_drops_what_is_older_than_it_is_to_keep(shop):
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with receiving() as inbox:
        prepare(shop, inbox.url, keep="5d")
        owner = shop.value("SELECT relowner::regrole::text FROM pg_class WHERE oid = 'cdc_hooks.attempt'::regclass")
        for parent, age in itertools.product(("delivery_log", "attempt"), (3, 8)):
            begin = today - timedelta(days=age)
            shop.execute(
                f"CREATE TABLE cdc_hooks.{parent}_{age} PARTITION OF cdc_hooks.{parent}"
                f" FOR VALUES FROM ('{begin}') TO ('{begin + timedelta(days=1)}');"
                f"ALTER TABLE cdc_hooks.{parent}_{age} OWNER TO {owner}"
            )
        with leading(shop) as daemon:
            assert sorted(daemon.until("ledger_trimmed")["partitions"]) == ["attempt_8", "delivery_log_8"]
        left = shop.execute("SELECT name FROM cdc_hooks.ledger_partitions() WHERE name ~ '_[0-9]$' ORDER BY name")
        assert left == [("attempt_3",), ("delivery_log_3",)]


def test_a_reload_changes_what_is_recorded(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url, log="all")
        with leading(shop) as daemon:
            deliver(shop, inbox, 1)
            eventually(lambda: len(logged(shop)) == 1, what="the record")
            shop.configure({"w": webhook(inbox.url, ["public.orders"], retry=SOON)}, ledger={"log": "none"})
            daemon.reload()
            daemon.until("reloading")
            deliver(shop, inbox, 2)
            # What has not been written yet is, when it is told to stop.
            stop(daemon)
    assert [keys for keys, *_ in logged(shop)] == ["[1]"]
