"""Two daemons at one database: one acts, and whatever happens to it, only one sends and acknowledges at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.harness import Daemon, Site, eventually, leading, webhook
from tests.acceptance.inbox import Gate, Inbox, late, receiving
from tests.acceptance.proxy import Proxy, proxied

TAKEOVER_S = 30.0


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return site


def pair(shop: Site, inbox: Inbox, proxy: Proxy | None = None, **how) -> tuple[Path, Path]:
    """Two configuration files that differ in a header. The first daemon goes through the proxy."""
    dsns = {"one": shop.daemon_dsn(port=proxy.port) if proxy else None, "two": None}
    one, two = (
        shop.configure(
            {"w": webhook(inbox.url, ["public.orders"], headers={"X-Sender": name}, **how)},
            dsn=dsn,
            file=f"{name}.yaml",
        )
        for name, dsn in dsns.items()
    )
    shop.apply(one)
    return one, two


def insert(shop: Site, first: int, last: int) -> None:
    shop.execute("INSERT INTO orders SELECT n FROM generate_series(%s::int, %s::int) n", first, last)


def senders(inbox: Inbox) -> list[str | None]:
    return [arrival.sender for arrival in inbox.arrivals]


def test_a_second_daemon_stands_by_and_takes_over(shop):
    with receiving() as inbox:
        one, two = pair(shop, inbox)
        with leading(shop, one) as first, Daemon(shop, two) as second:
            told = second.until("standing_by")
            assert f"pid {first.pid}" in told["leader"]
            status, why = second.ready()
            assert status == 200
            assert "standing by" in why
            assert f"pid {first.pid}" in shop.status(two)["daemon"]
            assert (first.metric("cdc_hooks_leading"), second.metric("cdc_hooks_leading")) == (1, 0)
            insert(shop, 1, 10)
            inbox.until(10)
            eventually(lambda: shop.status(two)["webhooks"][0]["backlog"] == 0, what="the acknowledgement")
            first.kill()
            insert(shop, 11, 20)
            second.until("leading", within_s=TAKEOVER_S)
            inbox.until(20)
            assert f"pid {second.pid}" in shop.status(two)["daemon"]
    assert inbox.duplicates() == 0
    assert set(senders(inbox)) == {"one", "two"}


def test_a_daemon_that_was_paused_neither_sends_on_nor_acknowledges(shop):
    gate = Gate()
    newest = "SELECT max(id) FROM cdc_hooks.progress"
    with receiving(gate) as inbox:
        one, two = pair(shop, inbox, ordering="strict", batch={"max_events": 1})
        with leading(shop, one) as first, Daemon(shop, two) as second:
            second.until("standing_by")
            insert(shop, 1, 20)
            inbox.wait(lambda: inbox.in_flight == 1)
            first.freeze()
            second.until("leading", within_s=TAKEOVER_S)
            gate.open()
            inbox.until(20)
            second.terminate()  # so that all is recorded, and the lead is free
            assert second.wait() == 0
            before, arrivals = shop.value(newest), len(inbox.arrivals)
            seen = len(first.log)
            first.thaw()
            first.until("superseded", after=seen)
            first.until("leading", after=seen)
            insert(shop, 21, 21)
            inbox.until(21)
            assert senders(inbox)[:arrivals] == ["one"] + ["two"] * 20
            # Of what it held when it was paused, the first sent nothing more, and recorded nothing.
            assert [arrival.events for arrival in inbox.arrivals[arrivals:]] == [(max(inbox.times),)]
            claimed = shop.execute("SELECT done FROM cdc_hooks.progress WHERE id > %s ORDER BY id", before)
            assert all(sum(done) <= 1 for (done,) in claimed)
    assert inbox.duplicates() == 1


def test_a_daemon_that_was_paused_stands_by_when_it_wakes(shop):
    """And its acknowledgement, which comes too late, does not count."""
    gate = Gate()
    newest = "SELECT max(id) FROM cdc_hooks.progress"
    with receiving(gate) as inbox:
        one, two = pair(shop, inbox)
        with leading(shop, one) as first, Daemon(shop, two) as second:
            second.until("standing_by")
            insert(shop, 1, 1)
            inbox.wait(lambda: inbox.in_flight == 1)
            first.freeze()
            second.until("leading", within_s=TAKEOVER_S)
            gate.open()
            insert(shop, 2, 10)
            inbox.until(10)
            eventually(lambda: shop.status(two)["webhooks"][0]["backlog"] == 0, what="the acknowledgement")
            acknowledged = shop.value(newest)
            first.thaw()
            first.until("superseded")
            told = first.until("standing_by")
            assert f"pid {second.pid}" in told["leader"]
            assert shop.value(newest) == acknowledged
            insert(shop, 11, 20)
            inbox.until(20)
    assert senders(inbox)[0] == "one"
    assert set(senders(inbox)[1:]) == {"two"}
    assert inbox.duplicates() == 1


def test_a_daemon_that_loses_its_connection_stands_by_when_it_comes_back(shop, server):
    with receiving() as inbox, proxied(server.port) as proxy:
        one, two = pair(shop, inbox, proxy)
        with leading(shop, one) as first, Daemon(shop, two) as second:
            second.until("standing_by")
            proxy.cut(stay_down=True)
            assert first.until("database_unavailable")["retry_in_s"] > 0
            assert first.ready()[0] == 503
            second.until("leading", within_s=TAKEOVER_S)
            insert(shop, 1, 10)
            inbox.until(10)
            proxy.heal()
            first.until("standing_by")
            assert first.ready()[0] == 200
    assert set(senders(inbox)) == {"two"}


def test_a_daemon_that_hears_nothing_from_the_database_stops_sending(shop, server):
    """Its connections are open, but silent: it stops when its lease ends, before the second begins."""
    with receiving(late(0.02)) as inbox, proxied(server.port) as proxy:
        one, two = pair(shop, inbox, proxy, ordering="strict", batch={"max_events": 1})
        with leading(shop, one) as first, Daemon(shop, two) as second:
            second.until("standing_by")
            insert(shop, 1, 2000)
            inbox.until(5)
            proxy.stall()
            second.until("leading", within_s=TAKEOVER_S)
            inbox.wait(lambda: senders(inbox)[-1] == "two")
            first.terminate()
            assert first.wait(within_s=20) == 0
            came = len(inbox.arrivals)
            inbox.wait(lambda: len(inbox.arrivals) > came + 50)
            proxy.heal()
    order = senders(inbox)
    assert set(order[: order.index("two")]) == {"one"}
    assert set(order[order.index("two") :]) == {"two"}


def test_an_idle_daemon_that_hears_nothing_says_so(shop, server):
    """It does not go on believing, and telling, that it leads."""
    with receiving() as inbox, proxied(server.port) as proxy:
        one, two = pair(shop, inbox, proxy)
        with leading(shop, one) as first, Daemon(shop, two) as second:
            second.until("standing_by")
            proxy.stall()
            second.until("leading", within_s=TAKEOVER_S)
            eventually(lambda: first.ready()[0] == 503, what="the end of readiness")
            proxy.heal()
            first.until("standing_by")
            assert first.metric("cdc_hooks_leading") == 0
