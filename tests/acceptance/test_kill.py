"""``kill -9`` between a success and its record: what was in flight comes again as it was, and nothing else does."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.acceptance.harness import Daemon, Site, eventually, leading
from tests.acceptance.inbox import Gate, Inbox, Switch, receiving
from tests.acceptance.orders import insert, prepare
from tests.receivers import answer

RECORDING = "FROM pg_locks WHERE NOT granted AND relation = 'cdc_hooks.progress'::regclass"

RECORDED = """
    SELECT 1 FROM cdc_hooks.place p JOIN cdc_hooks.tick t ON t.id = p.lo_tick
     WHERE p.lo_tick = p.hi_tick AND t.upto_id = 1"""


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def kill_before_it_reads(_shop: Site, daemon: Daemon, inbox: Inbox, gate: Gate) -> None:
    """All three are answered, and the daemon does not get to know."""
    daemon.freeze()
    gate.open()
    eventually(lambda: inbox.in_flight == 0, what="three answers")
    daemon.kill()


def kill_before_it_records(shop: Site, daemon: Daemon, _inbox: Inbox, gate: Gate) -> None:
    """It knows of all three, and is about to write down that it does."""
    with shop.connect(autocommit=False) as locker:
        locker.execute("LOCK TABLE cdc_hooks.progress IN EXCLUSIVE MODE")
        gate.open()
        eventually(
            lambda: daemon.metric("cdc_hooks_deliveries_total", outcome="delivered") == 4, what="three successes"
        )
        eventually(lambda: shop.value(f"SELECT count(*) {RECORDING}") > 0, what="the record")
        daemon.kill()
        # The server would write it yet, for a client that is gone.
        shop.execute(f"SELECT pg_terminate_backend(pid, 10000) {RECORDING}")


@pytest.mark.parametrize("kill", [kill_before_it_reads, kill_before_it_records])
def test_a_kill_between_successes_and_their_record(shop, kill):
    gate = Gate()
    receiver = Switch(answer(), gate)
    with receiving(receiver) as inbox:
        prepare(shop, inbox.url, batch={"max_events": 1}, concurrency=3)
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            inbox.until(1)
            eventually(lambda: shop.execute(RECORDED), what="the record of the first")
            receiver.turn()
            insert(shop, 2, 4)
            inbox.wait(lambda: inbox.in_flight == 3)
            shop.execute("UPDATE orders SET number = 1")
            kill(shop, daemon, inbox, gate)
            shop.let_the_lease_run_out()
        assert len(inbox.arrivals) == 4
        with leading(shop) as daemon:
            inbox.wait(lambda: len(inbox.arrivals) == 11)
            shop.execute("DELETE FROM orders WHERE id = 1")
            inbox.wait(lambda: len(inbox.arrivals) == 12)
            daemon.terminate()
            assert daemon.wait() == 0
    first, again, rest = inbox.arrivals[1:4], inbox.arrivals[4:7], inbox.arrivals[7:]
    assert sorted((one.id, one.body) for one in again) == sorted((one.id, one.body) for one in first)
    assert len({one.id for one in (*first, *rest)}) == 8
    rows = defaultdict(list)
    for arrival in inbox.arrivals:
        rows[arrival.items[0]["rowId"]].append(arrival.action)
    assert rows == {1: ["insert", "update", "delete"], **{row: ["insert", "insert", "update"] for row in (2, 3, 4)}}
    # Records of the ledger may be lost with the process; none is there twice.
    logged = [message for (message,) in shop.execute("SELECT message_id FROM cdc_hooks.delivery_log")]
    assert len(logged) == len(set(logged))
    assert {one.id for one in rest} <= set(logged)
