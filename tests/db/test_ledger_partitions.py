"""The ledger's partitions: made for the next days, dropped by age and by bytes, by their owner's function alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.db.conftest import Captured

MiB = 2**20


class Tidied(NamedTuple):
    made: int
    dropped: list[str]
    bytes: int
    busy: bool


@pytest.fixture
def daemon(captured: Captured) -> Iterator[psycopg.Connection[Any]]:
    """As the daemon's role, in a database without a partition."""
    captured.capture()
    with captured.connect(captured.roles.daemon) as connection:
        yield connection


def tidy(connection: psycopg.Connection[Any], keep: str = "30 days", max_bytes: int | None = None) -> Tidied:
    generation = connection.execute("SELECT generation FROM cdc_hooks.leader").fetchone()
    assert generation is not None
    found = connection.execute("SELECT * FROM cdc_hooks.tidy_ledger(%s, %s, %s)", (*generation, keep, max_bytes))
    return Tidied(*found.fetchall()[0])


def record(connection: psycopg.Connection[Any], count: int = 1, at: datetime | None = None) -> None:
    connection.execute(
        "INSERT INTO cdc_hooks.delivery_log (webhook_id, message_id, kind, state, table_name, action, row_ids,"
        " event_count, first_event, last_event, attempts, first_attempt_at, last_attempt_at, logged_at)"
        " SELECT 1, repeat(md5(n::text), 10), 'normal', 'delivered', 'public.orders', 'insert', '[1]', 1, '1-1', '1-1',"
        " 1, now(), now(), coalesce(%s, clock_timestamp()) FROM generate_series(1, %s) n",
        (at, count),
    )


def partitions(
    connection: psycopg.Connection[Any], parent: str = "delivery_log"
) -> list[tuple[str, datetime, datetime]]:
    """Name and range of each, in order of time."""
    return connection.execute(
        "SELECT name, lower, upper FROM cdc_hooks.ledger_partitions() WHERE parent = %s ORDER BY lower", (parent,)
    ).fetchall()


def is_whole(connection: psycopg.Connection[Any]) -> bool:
    """Whether the partitions follow each other without a hole, from now on for two days at least."""
    now = datetime.now(UTC)
    for parent in ("delivery_log", "attempt"):
        place = now
        for _, lower, upper in partitions(connection, parent):
            if lower <= place < upper:
                place = upper
        if place < now + timedelta(days=2):
            return False
    return True


def test_there_is_room_for_today_and_the_next_days(daemon):
    with pytest.raises(psycopg.errors.CheckViolation):
        record(daemon)
    assert tidy(daemon)[:2] == (6, [])
    assert is_whole(daemon)
    record(daemon)
    assert tidy(daemon)[:2] == (0, [])


def test_what_is_too_old_is_dropped_by_the_day(daemon, captured):
    tidy(daemon)
    for day in ("2020-01-01", "2020-01-02"):
        for parent in ("delivery_log", "attempt"):
            captured.execute(
                f"CREATE TABLE cdc_hooks.{parent}_{day.replace('-', '')} PARTITION OF cdc_hooks.{parent}"
                f" FOR VALUES FROM ('{day} 00:00+00') TO (timestamptz '{day} 00:00+00' + interval '1 day')"
            )
            captured.execute(f"ALTER TABLE cdc_hooks.{parent}_{day.replace('-', '')} OWNER TO {captured.roles.owner}")
    keep = str(datetime.now(UTC) - datetime(2020, 1, 2, 1, tzinfo=UTC))
    tidied = tidy(daemon, keep=keep)
    assert sorted(tidied.dropped) == ["attempt_20200101", "delivery_log_20200101"]
    assert sorted(tidy(daemon).dropped) == ["attempt_20200102", "delivery_log_20200102"]
    assert is_whole(daemon)


def test_above_the_budget_the_oldest_goes_also_on_a_busy_day(daemon):
    tidy(daemon)
    sizes = []
    for _ in range(12):
        record(daemon, 500)
        sizes.append(tidy(daemon, max_bytes=MiB).bytes)
        assert is_whole(daemon)
    assert max(sizes) <= MiB
    kept = daemon.execute("SELECT min(number), max(number), count(*) FROM cdc_hooks.delivery_log").fetchone()
    assert kept is not None
    first, last, count = kept
    assert last == 6000
    assert 500 <= count < 6000
    assert first == last - count + 1  # the newest ones, without a hole


def test_without_a_budget_nothing_is_dropped_for_its_size(daemon):
    tidy(daemon)
    record(daemon, 20_000)
    assert tidy(daemon)[:2] == (0, [])


def test_records_from_a_clock_that_was_set_back_stay(daemon):
    tidy(daemon)
    later = min(datetime.now(UTC) + timedelta(minutes=5), partitions(daemon)[0][2] - timedelta(milliseconds=1))
    record(daemon, 1000, at=later)
    tidy(daemon, max_bytes=MiB)
    record(daemon)
    assert daemon.execute("SELECT count(*) FROM cdc_hooks.delivery_log").fetchone() == (1001,)
    assert is_whole(daemon)


def test_a_partition_that_somebody_dropped_is_made_again(daemon, captured):
    tidy(daemon)
    record(daemon, 1000)
    tidy(daemon, max_bytes=MiB)
    now = datetime.now(UTC)
    (current,) = (name for name, lower, upper in partitions(daemon) if lower <= now < upper)
    captured.execute(f"DROP TABLE cdc_hooks.{current}")
    assert tidy(daemon).made == 1
    record(daemon)
    assert is_whole(daemon)


def test_while_somebody_reads_it_for_long_it_gives_up_soon(daemon, captured):
    tidy(daemon)
    record(daemon, 1000)
    daemon.execute("SET statement_timeout = '10s'")
    with captured.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM cdc_hooks.delivery_log")
        assert tidy(daemon, max_bytes=MiB).busy
        record(daemon)
    assert not tidy(daemon, max_bytes=MiB).busy


def test_who_is_superseded_tidies_nothing(daemon):
    daemon.execute("SELECT cdc_hooks.take_lead('another', 60000)")
    with pytest.raises(psycopg.DatabaseError) as refused:
        daemon.execute("SELECT cdc_hooks.tidy_ledger(0, '30 days', NULL)")
    assert refused.value.sqlstate == "CH001"


def test_the_daemon_may_tidy_and_nothing_else_that_owners_may(daemon, captured):
    tidy(daemon)
    (name, _, _), *_ = partitions(daemon)
    for statement in (f"DROP TABLE cdc_hooks.{name}", f"SELECT * FROM cdc_hooks.{name}", f"TRUNCATE cdc_hooks.{name}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            daemon.execute(statement)
    stranger = f"stranger_{captured.conn.info.dbname}"
    captured.execute(f"CREATE ROLE {stranger} LOGIN; GRANT USAGE ON SCHEMA cdc_hooks TO {stranger}")
    with captured.connect(stranger) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
        other.execute("SELECT cdc_hooks.tidy_ledger(0, '30 days', NULL)")
    captured.execute(f"DROP OWNED BY {stranger}; DROP ROLE {stranger}")


def test_a_function_with_its_owner_s_rights_looks_nowhere_else(daemon):
    found = daemon.execute(
        "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'cdc_hooks'::regnamespace AND prosecdef"
    ).fetchall()
    assert [name for name, _ in found] == ["tidy_ledger"]
    assert "search_path=pg_catalog, pg_temp" in found[0][1]
