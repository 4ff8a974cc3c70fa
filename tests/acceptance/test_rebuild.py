"""The central test: whatever is killed, crashed or cut off, the deliveries alone rebuild each table."""

from __future__ import annotations

import random
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import psycopg
import pytest
from psycopg import IsolationLevel, errors

from cdc_hooks.changelog.window import MAX_PAGE_ROWS
from cdc_hooks.demo.postgres import PostgresServer
from tests.acceptance.harness import Daemon, Site, eventually, leading, webhook
from tests.acceptance.inbox import Inbox, receiving
from tests.acceptance.proxy import Proxy, proxied
from tests.acceptance.replica import Replica

SCHEMAS = Path(__file__).parent / "schemas"
PGBENCH = {f"pgbench_{name}": f"public.pgbench_{name}" for name in ("accounts", "branches", "tellers", "history")}
AWKWARD = {
    f"{schema}.{name}": f"{schema}.{name}"
    for schema in ['"Größen"']
    for name in ('"Alle Werte"', '"Zeilen"', "messung", "konten", "bulk", "eimer", "gestempelt")
}
RULES = {'"Größen".konten': {"key": ["code"]}, '"Größen".bulk': {"level": "statement"}}
TRUNCATED = frozenset({'"Größen".eimer'})
"""Now and then: these may be empty at the end."""
KEYLESS = frozenset({"pgbench_history"})
ALL_ACTIONS = {"actions": ["insert", "update", "delete", "truncate"]}
PATIENT = {"schedule": ["100ms"] * 20}
SETTINGS = (
    "-c DateStyle=German -c TimeZone=Asia/Kolkata -c extra_float_digits=-3",
    "-c IntervalStyle=iso_8601 -c bytea_output=escape -c TimeZone=America/St_Johns",
    "-c DateStyle=SQL,DMY -c TimeZone=Europe/Berlin -c IntervalStyle=sql_standard",
    "-c default_transaction_isolation=serializable -c synchronous_commit=off",
)
FAULTS = ("cut", "kill", "crash", "kill", "crash")


def write_at_random(dsn: str, settings: str, seed: int, over: threading.Event) -> None:
    """Transactions in all isolation levels, with savepoints, of which some are rolled back, until it is over."""
    chance = random.Random(seed)
    while not over.is_set():
        with suppress(psycopg.Error), psycopg.connect(dsn, user="awkward_app", options=settings) as connection:
            connection.execute("SELECT setseed(%s)", [chance.random()])
            connection.commit()
            while not over.wait(0.01):
                connection.isolation_level = chance.choice([None, *IsolationLevel])
                # Of the errors that writers cause each other, the connection survives.
                with suppress(errors.TransactionRollback, errors.UniqueViolation):
                    write_transaction(connection, chance)


def write_transaction(connection: psycopg.Connection, chance: random.Random) -> None:
    with connection.transaction(force_rollback=chance.random() < 0.15):
        for _ in range(chance.randint(1, 4)):
            with connection.transaction(force_rollback=chance.random() < 0.2):
                connection.execute('SELECT "Größen".write_something()')


def bench(server: PostgresServer, over: threading.Event) -> None:
    """pgbench's own load (TPC-B), begun again whenever the server goes away."""
    while not over.is_set():
        subprocess.run(
            [server.tool("pgbench"), "-n", "-c", "3", "-t", "60", "-R", "150", *libpq(server)],
            capture_output=True,
            check=False,
        )


def libpq(server: PostgresServer) -> list[str]:
    return ["-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "postgres"]


@contextmanager
def working(*jobs: Callable[[], None]) -> Iterator[None]:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


@pytest.fixture
def both(own_server: PostgresServer, tmp_path: Path) -> Site:
    site = Site(own_server.dsn(), tmp_path)
    subprocess.run([own_server.tool("pgbench"), "-i", "-I", "tp", *libpq(own_server)], check=True, capture_output=True)
    site.execute((SCHEMAS / "awkward.sql").read_text())
    return site


def test_deliveries_alone_rebuild_each_table(both, own_server):
    over = threading.Event()
    with ExitStack() as stack:
        banks = stack.enter_context(receiving(refusing=0.01))
        oddities = stack.enter_context(receiving(refusing=0.02))
        proxy = stack.enter_context(proxied(own_server.port))
        both.configure(
            {
                "bank": webhook(banks.url, dict.fromkeys(PGBENCH.values(), ALL_ACTIONS), retry=PATIENT),
                "oddities": webhook(
                    oddities.url,
                    dict.fromkeys(AWKWARD.values(), ALL_ACTIONS),
                    retry=PATIENT,
                    batch={"max_events": 20},
                ),
            },
            dsn=both.daemon_dsn(port=proxy.port),
            tables=RULES,
        )
        both.apply()
        disturbed = stack.enter_context(Disturbed(both, own_server, proxy))
        subprocess.run(
            [own_server.tool("pgbench"), "-i", "-I", "g", *libpq(own_server)], check=True, capture_output=True
        )
        writers = [
            lambda n=n, settings=settings: write_at_random(both.dsn, settings, n, over)
            for n, settings in enumerate(SETTINGS)
        ]
        with working(*writers, lambda: bench(own_server, over)):
            try:
                for number, fault in enumerate(FAULTS):
                    came = len(oddities.times)
                    oddities.until(came + 300, within_s=60)
                    both.execute('SELECT "Größen".attach_year(%s)', 2030 + number)
                    disturbed.suffer(fault)
                oddities.until(len(oddities.times) + 300, within_s=60)
            finally:
                over.set()
        logged = {
            name: {
                row[0] for row in both.execute("SELECT id FROM cdc_hooks.change WHERE table_name = ANY (%s)", tables)
            }
            for name, tables in (("bank", list(PGBENCH.values())), ("oddities", list(AWKWARD.values())))
        }
        banks.until_all(logged["bank"], within_s=60)
        oddities.until_all(logged["oddities"], within_s=60)
        eventually(lambda: not any(one["backlog"] for one in both.status()["webhooks"]), what="an empty backlog")
        for name in ("bank", "oddities"):
            assert both.webhook_status(name)["dead_letters"] == 0

    for inbox, tables in ((banks, PGBENCH), (oddities, AWKWARD)):
        check_bounds(inbox)
        replica = Replica(keyless=KEYLESS)
        replica.take(inbox.arrivals)
        assert not replica.disorder, replica.disorder[:5]
        with both.connect() as connection:
            for shown, table in tables.items():
                assert shown in replica.tables, f"nothing of {table} was sent"
                assert replica.tables[shown] or table in TRUNCATED, f"{table} came to nothing"
                different = replica.differences(connection, shown, table)
                assert not different, f"{table}: {len(different)} differences: {different[:3]}"


def check_bounds(inbox: Inbox) -> None:
    """A batch came again at most once for each fault, and all in all not more than the rounds that were disturbed."""
    copies = Counter(arrival.id for arrival in inbox.arrivals)
    assert max(copies.values()) <= 1 + len(FAULTS)
    assert inbox.duplicates() <= len(FAULTS) * MAX_PAGE_ROWS


class Disturbed:
    """A daemon that is killed and comes back, whose connections are cut, and whose server crashes."""

    def __init__(self, site: Site, server: PostgresServer, proxy: Proxy) -> None:
        self._site = site
        self._server = server
        self._proxy = proxy

    def __enter__(self) -> Self:
        self._running = ExitStack()
        self._daemon: Daemon = self._running.enter_context(leading(self._site))
        return self

    def __exit__(self, *exc: object) -> None:
        self._running.__exit__(*exc)

    def suffer(self, fault: str) -> None:
        if fault == "cut":
            self._proxy.cut()
        elif fault == "crash":
            self._server.restart("immediate")
        else:
            self._daemon.kill()
            self._daemon = self._running.enter_context(Daemon(self._site))
