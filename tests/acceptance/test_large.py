"""One transaction larger than memory should be, and one that is held open."""

from __future__ import annotations

from tests.acceptance.harness import leading, webhook
from tests.acceptance.inbox import receiving

ROWS = 200_000
MiB = 2**20


def test_a_large_transaction_arrives_once_in_little_memory(site):
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, filler text)")
    with receiving() as inbox:
        site.configure({"w": webhook(inbox.url, ["public.orders"], batch={"max_events": 1000})})
        site.apply()
        with leading(site) as daemon:
            site.execute("INSERT INTO orders VALUES (0, 'first')")
            inbox.until(1)
            before = daemon.peak_memory_bytes()
            site.execute("INSERT INTO orders SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, %s) n", ROWS)
            inbox.until(ROWS + 1, within_s=90)
            # The rows make up 80 MB of JSON, and more in memory: all of it would show.
            assert daemon.peak_memory_bytes() < before + 100 * MiB
            site.execute("INSERT INTO orders VALUES (-1, 'last')")
            inbox.until(ROWS + 2)
    assert inbox.duplicates() == 0
    assert inbox.values("id")[-1] == -1


def test_a_transaction_that_is_held_open_delays_nothing_but_itself(site):
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, filler text)")
    with receiving() as inbox:
        site.configure({"w": webhook(inbox.url, ["public.orders"])})
        site.apply()
        with leading(site), site.connect(autocommit=False) as writer, site.connect(autocommit=False) as other:
            writer.execute("INSERT INTO orders VALUES (1000, 'held')")
            other.execute("SELECT pg_current_xact_id()")
            for number in range(1, 21):
                site.execute("INSERT INTO orders VALUES (%s)", number)
                inbox.until(number)
            writer.execute("UPDATE orders SET filler = 'changed' WHERE id = 1000")
            writer.commit()
            inbox.until(22)
            other.execute("INSERT INTO orders VALUES (2000)")
            other.commit()
            inbox.until(23)
    assert inbox.values("id") == [*range(1, 21), 1000, 1000, 2000]
    assert inbox.duplicates() == 0
