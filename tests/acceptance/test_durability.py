"""Only what was committed, and only what stays committed, is sent."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cdc_hooks.demo.postgres import PostgresServer
from tests.acceptance.harness import Site, leading, webhook
from tests.acceptance.inbox import receiving
from tests.conftest import FOUND


@pytest.fixture
def forgetful_server(pg_version: int):
    """A server that acknowledges commits long before they are on disk."""
    settings = {"synchronous_commit": "off", "wal_writer_delay": "10000ms"}
    with PostgresServer(FOUND[pg_version], settings=settings) as server:
        yield server


def test_nothing_that_was_rolled_back(site):
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    insert = "INSERT INTO orders VALUES (%s)"
    with receiving() as inbox:
        site.configure({"w": webhook(inbox.url, ["public.orders"])})
        site.apply()
        with leading(site), site.connect(autocommit=False) as writer:
            for n in range(0, 100, 10):
                with writer.transaction(force_rollback=n % 20 == 10):
                    writer.execute(insert, [n])
                    with writer.transaction(force_rollback=True):
                        writer.execute(insert, [n + 1])
                        with writer.transaction():
                            writer.execute(insert, [n + 2])
                    with writer.transaction():
                        writer.execute(insert, [n + 3])
                        with writer.transaction(force_rollback=True):
                            writer.execute("DELETE FROM orders")
            inbox.until(10)
            site.execute("DELETE FROM orders WHERE id = 80")
            inbox.until(11)
    assert sorted(inbox.values("id")[:10]) == sorted(n + more for n in range(0, 100, 20) for more in (0, 3))
    assert inbox.duplicates() == 0


def test_nothing_that_a_crash_of_the_database_takes_back(forgetful_server, tmp_path: Path):
    """What a receiver has seen is in the table after the crash, and no event id ever means two things."""
    site = Site(forgetful_server.dsn(), tmp_path)
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    with receiving() as inbox:
        site.configure({"w": webhook(inbox.url, ["public.orders"])})
        site.apply()
        site.execute("CHECKPOINT")
        with leading(site) as daemon:
            for n in range(4):
                seen = len(daemon.log)
                writer = site.connect()
                writer.execute("INSERT INTO orders VALUES (%s)", [n])
                inbox.wait(lambda n=n: n in inbox.values("id"))
                forgetful_server.stop("immediate")
                with pytest.raises(psycopg.Error):
                    writer.execute("SELECT 1")
                writer.close()
                forgetful_server.start()
                assert site.value("SELECT count(*) FROM orders WHERE id = %s", n) == 1
                daemon.until("leading", after=seen)
    content = {}
    for arrival in inbox.arrivals:
        for event, item in zip(arrival.events, arrival.items, strict=True):
            assert content.setdefault(event, item) == item
    assert len(content) == 4
