"""The doorbell: rung for a daemon that sleeps, and never for long for one that died in its sleep."""

from __future__ import annotations

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import receiving

DOORBELL = "SELECT last_value - cdc_hooks.now_ms() FROM cdc_hooks.doorbell"
ASLEEP = "SELECT last_value > cdc_hooks.now_ms() FROM cdc_hooks.doorbell"
DEADLINE = "SELECT last_value FROM cdc_hooks.doorbell"
RING_MS = 60_000


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return site


def test_an_idle_daemon_sleeps_and_a_write_wakes_it(shop):
    with receiving() as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"])})
        shop.apply()
        with leading(shop) as daemon, shop.connect() as ear:
            assert daemon.events("leading")[0]["wakes_by"] == "notify"
            ear.execute("LISTEN cdc_hooks")
            arrived_ms = 0
            for number in range(1, 6):
                # Anew: the bell that the last one has rung is switched off a little later than that one arrives.
                eventually(lambda since=arrived_ms: shop.value(DEADLINE) > since + RING_MS, what="sleep")
                shop.execute("INSERT INTO orders VALUES (%s)", number)
                inbox.until(number)
                assert list(ear.notifies(timeout=10, stop_after=1)), "nobody rang"
                arrived_ms = shop.value("SELECT cdc_hooks.now_ms()")
    assert inbox.duplicates() == 0


def test_nobody_rings_for_long_for_a_daemon_that_died_in_its_sleep(shop):
    with receiving() as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"])})
        shop.apply()
        with leading(shop) as daemon:
            eventually(lambda: shop.value(ASLEEP), what="sleep")
            daemon.kill()
            shop.let_the_lease_run_out()
            assert shop.value(DOORBELL) <= RING_MS
            shop.execute("INSERT INTO orders VALUES (1)")
            # As if the minute were over: from now on nobody rings, and the next daemon finds all that was written.
            shop.execute("SELECT setval('cdc_hooks.doorbell', cdc_hooks.now_ms() - 1)")
            with shop.connect() as ear:
                ear.execute("LISTEN cdc_hooks")
                shop.execute("INSERT INTO orders VALUES (2)")
                assert not list(ear.notifies(timeout=0.2, stop_after=1))
        with leading(shop):
            inbox.until(2)


def test_a_daemon_that_stops_switches_the_doorbell_off(shop):
    with receiving() as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"])})
        shop.apply()
        with leading(shop) as daemon:
            eventually(lambda: shop.value(ASLEEP), what="sleep")
            daemon.terminate()
            assert daemon.wait() == 0
            assert not shop.value(ASLEEP)
