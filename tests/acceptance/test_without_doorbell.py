"""Where nothing can ring, the daemon says so, polls, and delivers all the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdc_hooks.demo.postgres import PostgresServer
from tests.acceptance.harness import DAEMON_ROLE, Site, eventually, leading, own_port, webhook
from tests.acceptance.inbox import receiving
from tests.conftest import FOUND, need

PGBOUNCER = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = 3
auth_type = trust
auth_file = {users}
"""


@contextmanager
def pgbouncer(server_port: int, directory: Path) -> Iterator[int]:
    """A pooler in transaction mode, with fewer connections than the daemon has; its port."""
    program = shutil.which("pgbouncer")
    need("pgbouncer", program)
    assert program is not None
    port = own_port()
    users, settings = directory / "users.txt", directory / "pgbouncer.ini"
    users.write_text(f'"{DAEMON_ROLE}" ""\n')
    settings.write_text(PGBOUNCER.format(server=server_port, port=port, users=users))
    user = "nobody" if os.geteuid() == 0 else None
    process = subprocess.Popen([program, str(settings)], user=user, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def test_behind_a_transaction_pooler(site, server, place):
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    with receiving() as inbox, pgbouncer(server.port, place) as port:
        site.configure(
            {"w": webhook(inbox.url, ["public.orders"], batch={"max_events": 50})}, dsn=site.daemon_dsn(port=port)
        )
        site.apply()
        eventually(lambda: site.run("status").returncode == 0, what="the pooler")
        with leading(site) as daemon:
            said = daemon.events("leading")[0]
            assert said["wakes_by"] == "polling"
            assert "pooler" in said["reason"]
            for start in range(0, 3000, 1000):
                site.execute("INSERT INTO orders SELECT n FROM generate_series(%s::int, %s::int) n", start, start + 999)
                site.execute("INSERT INTO orders VALUES (%s)", 10_000 + start)
                inbox.until(1001 * (start // 1000 + 1))
            daemon.kill()
            site.let_the_lease_run_out()
        with leading(site):
            site.execute("INSERT INTO orders VALUES (-1)")
            inbox.wait(lambda: -1 in inbox.values("id"))
    assert len(inbox.times) == 3004


def test_with_prepared_transactions(pg_version, tmp_path):
    """A NOTIFY would make PREPARE TRANSACTION fail: nothing rings. What was prepared arrives when it is committed."""
    with PostgresServer(FOUND[pg_version], settings={"max_prepared_transactions": "10"}, durable=False) as server:
        site = Site(server.dsn(), tmp_path)
        site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        with receiving() as inbox:
            site.configure({"w": webhook(inbox.url, ["public.orders"])})
            site.apply()
            with leading(site) as daemon:
                said = daemon.events("leading")[0]
                assert said["wakes_by"] == "polling"
                assert "max_prepared_transactions" in said["reason"]
                # Long enough without news that it would sleep by now.
                eventually(lambda: idle(site), what="idleness")
                site.execute("BEGIN; INSERT INTO orders VALUES (1); PREPARE TRANSACTION 'one'")
                site.execute("BEGIN; INSERT INTO orders VALUES (2); PREPARE TRANSACTION 'two'")
                site.execute("INSERT INTO orders VALUES (3)")
                inbox.until(1)
                site.execute("ROLLBACK PREPARED 'two'")
                site.execute("COMMIT PREPARED 'one'")
                inbox.until(2)
                assert "polls" in site.run("check").stdout
    assert inbox.values("id") == [3, 1]


def idle(site: Site) -> bool:
    """Whether the daemon's last look is some hundred milliseconds ago."""
    query = (
        "SELECT max(clock_timestamp() - query_start) > '0.4 s' FROM pg_stat_activity"
        " WHERE application_name = 'cdc-hooks journal'"
    )
    return bool(site.value(query))
