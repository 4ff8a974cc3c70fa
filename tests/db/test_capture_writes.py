"""Capture never changes what a write does, belongs to its transaction, and rings only when it may."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from cdc_hooks.demo.postgres import PostgresServer
from cdc_hooks.model import Action
from tests.conftest import FOUND
from tests.db.conftest import Captured, roles_for

TABLE = "CREATE TABLE t (id int PRIMARY KEY, status text DEFAULT 'new')"
LEVELS = pytest.mark.parametrize("level", ["row", "statement"])


def ring_until(captured: Captured, seconds_from_now: int) -> None:
    captured.execute(
        "SELECT setval('cdc_hooks.doorbell', (extract(epoch FROM clock_timestamp()) * 1000)::bigint + %s)",
        seconds_from_now * 1000,
    )


@pytest.fixture
def listener(captured: Captured) -> Iterator[psycopg.Connection]:
    with captured.connect() as listening:
        listening.execute("LISTEN cdc_hooks")
        yield listening


def heard(listening: psycopg.Connection) -> list[str]:
    # Its own notification comes after all that were committed before it.
    listening.execute("NOTIFY cdc_hooks, 'end'")
    said = []
    for notify in listening.notifies():
        if notify.payload == "end":
            return said
        said.append(notify.payload)
    return said


@LEVELS
def test_an_unprivileged_writer_is_captured_and_gains_nothing(captured: Captured, level: str) -> None:
    captured.execute(TABLE)
    captured.capture("public.t", level=level)
    writer = f"writer_{captured.conn.info.dbname}_{level}"
    captured.execute(f"CREATE ROLE {writer} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {writer}")
    with captured.connect(writer) as app:
        app.execute("INSERT INTO t VALUES (1); UPDATE t SET status = 'paid'; DELETE FROM t")
        for forbidden in (
            "SELECT * FROM cdc_hooks.change",
            "INSERT INTO cdc_hooks.change (action, table_name) VALUES ('T', 'x')",
            "SELECT last_value FROM cdc_hooks.doorbell",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(forbidden)
    assert captured.keys() == [("I", 1), ("U", 1), ("D", 1)]
    public = captured.execute(
        "SELECT bool_or(has_function_privilege(%s, oid, 'EXECUTE')) FROM pg_proc WHERE proname ~ '^capture_'",
        writer,
    )
    assert public.fetchone() == (False,)


def test_a_search_path_full_of_traps_changes_nothing(captured: Captured) -> None:
    captured.execute(TABLE)
    captured.capture("public.t")
    with captured.connect() as app:
        app.execute("CREATE SCHEMA evil; SET search_path = evil, pg_catalog, public, pg_temp")
        app.execute(
            "CREATE FUNCTION evil.row_to_json(record) RETURNS json LANGUAGE plpgsql AS 'BEGIN RETURN 1 / 0; END'"
        )
        app.execute("CREATE FUNCTION evil.octet_length(text) RETURNS int LANGUAGE sql RETURN 1 / 0")
        app.execute("CREATE TEMPORARY TABLE change (action text)")
        app.execute("INSERT INTO t VALUES (1)")
    assert captured.keys() == [("I", 1)]


@LEVELS
def test_nothing_from_what_is_rolled_back(captured: Captured, level: str) -> None:
    captured.execute(TABLE)
    captured.capture("public.t", level=level)
    with captured.connect() as app:
        with app.transaction():
            app.execute("INSERT INTO t VALUES (1)")
            with app.transaction():
                app.execute("INSERT INTO t VALUES (2)")
            with app.transaction(force_rollback=True):
                app.execute("INSERT INTO t VALUES (3)")
            xid = app.execute("SELECT pg_current_xact_id()").fetchone()
        with app.transaction(force_rollback=True):
            app.execute("INSERT INTO t VALUES (4)")
    assert captured.keys() == [("I", 1), ("I", 2)]
    assert xid
    assert {row.xid for row in captured.rows()} == {xid[0]}


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_every_isolation_level(captured: Captured, listener: psycopg.Connection, isolation: str) -> None:
    captured.execute(TABLE)
    captured.capture("public.t")
    with captured.connect() as app:
        app.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        app.execute("SELECT * FROM t")
        ring_until(captured, 60)  # after the transaction's snapshot was taken, and seen nevertheless
        app.execute("INSERT INTO t VALUES (1)")
        app.execute("COMMIT")
    assert captured.keys() == [("I", 1)]
    assert heard(listener) == [""]


@LEVELS
def test_the_doorbell_rings_until_its_time_and_never_at_zero(
    captured: Captured, listener: psycopg.Connection, level: str
) -> None:
    captured.execute(TABLE)
    captured.capture("public.t", level=level, actions=frozenset(Action))
    captured.execute("INSERT INTO t VALUES (1)")
    assert heard(listener) == []
    ring_until(captured, -1)
    captured.execute("INSERT INTO t VALUES (2)")
    assert heard(listener) == []
    ring_until(captured, 60)
    for statement in ("INSERT INTO t VALUES (3)", "UPDATE t SET status = 'x'", "DELETE FROM t", "TRUNCATE t"):
        captured.execute(statement)
        assert heard(listener) == [""], statement
    captured.execute("SELECT setval('cdc_hooks.doorbell', 0)")
    captured.execute("INSERT INTO t VALUES (4)")
    assert heard(listener) == []


def test_two_phase_commit_works_while_nothing_is_rung(pg_version: int) -> None:
    prepared = {"max_prepared_transactions": "5"}
    with (
        PostgresServer(FOUND[pg_version], settings=prepared, durable=False) as server,
        psycopg.connect(server.dsn(), autocommit=True) as conn,
    ):
        captured = Captured(server.dsn(), roles_for(server.dsn()), conn)
        captured.execute(TABLE)
        captured.capture("public.t")
        captured.execute("BEGIN")
        captured.execute("INSERT INTO t VALUES (1)")
        captured.execute("PREPARE TRANSACTION 'x'")
        captured.execute("COMMIT PREPARED 'x'")
        assert captured.keys() == [("I", 1)]


WRITES = """
    CREATE TABLE parent (id int PRIMARY KEY, status text DEFAULT 'new', hits int DEFAULT 0);
    CREATE TABLE child (
        id int PRIMARY KEY,
        parent_id int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED
    )"""
STATEMENTS = (
    "INSERT INTO parent VALUES (1), (2), (3) RETURNING *",
    "INSERT INTO parent VALUES (1), (4) ON CONFLICT DO NOTHING RETURNING *",
    "INSERT INTO parent VALUES (1), (5) ON CONFLICT (id) DO UPDATE SET hits = parent.hits + 1 RETURNING *",
    """WITH gone AS (DELETE FROM parent WHERE id = 5 RETURNING *)
       INSERT INTO parent SELECT id + 1, status FROM gone RETURNING *""",
    "INSERT INTO child VALUES (10, 1), (20, 2) RETURNING *",
    "UPDATE parent SET id = 100 WHERE id = 1 RETURNING *",
    "SELECT * FROM child ORDER BY id FOR UPDATE",
    """MERGE INTO parent p USING (VALUES (2, 'a'), (3, 'b'), (9, 'c')) AS s (id, status) ON p.id = s.id
       WHEN MATCHED AND s.id = 3 THEN DELETE WHEN MATCHED THEN UPDATE SET status = s.status
       WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.status)""",
    "DELETE FROM parent WHERE id = 100 RETURNING *",
    "SELECT * FROM parent ORDER BY id",
    "SELECT * FROM child ORDER BY id",
)
LOGGED = """
    parent I 1, parent I 2, parent I 3, parent I 4, parent U 1, parent I 5, parent D 5, parent I 6,
    child I 10, child I 20, parent U 100, child U 10, parent U 2, parent D 3, parent I 9, parent D 100, child D 10,
    parent I 50"""


def outcomes(captured: Captured) -> list[tuple[object, ...]]:
    seen = []
    for statement in STATEMENTS:
        done = captured.execute(statement)
        seen.append((done.statusmessage, done.rowcount, done.fetchall() if done.description else None))
    with captured.conn.cursor() as cursor, cursor.copy("COPY parent (id) FROM STDIN") as copy:
        copy.write_row((50,))
    return seen


@LEVELS
def test_capture_does_not_change_the_outcome_of_writes(captured: Captured, level: str) -> None:
    captured.execute(WRITES)
    bare = outcomes(captured)
    captured.execute("DROP TABLE child, parent")
    captured.execute(WRITES)
    captured.capture("public.parent", "public.child", level=level)
    assert outcomes(captured) == bare
    logged = [f"{row.table_name.removeprefix('public.')} {row.action} {row.key}" for row in captured.rows()]
    expected = [change.strip() for change in LOGGED.split(",")]
    assert sorted(logged) == sorted(expected)
    if level == "row":
        assert logged == expected


def test_a_failing_statement_fails_as_it_did(captured: Captured) -> None:
    captured.execute(WRITES)
    captured.capture("public.parent", "public.child")
    with pytest.raises(psycopg.errors.UniqueViolation):
        captured.execute("INSERT INTO parent VALUES (1), (1)")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        captured.execute("INSERT INTO child VALUES (1, 1)")
    assert captured.rows() == []


def test_replication_sessions_are_captured(captured: Captured) -> None:
    captured.execute(TABLE)
    captured.capture("public.t")
    with captured.connect(options="-c session_replication_role=replica") as replica:
        replica.execute("INSERT INTO t VALUES (1)")
    assert captured.keys() == [("I", 1)]


def test_a_trigger_of_the_application_that_writes_the_same_row_comes_after(captured: Captured) -> None:
    captured.execute(TABLE)
    captured.execute(
        "CREATE FUNCTION app() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN UPDATE t SET status = 'checked' WHERE id = NEW.id; RETURN NULL; END$$"
    )
    captured.execute('CREATE TRIGGER "00_my_own" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION app()')
    captured.capture("public.t")
    captured.execute("INSERT INTO t VALUES (1)")
    assert [(change.action, change.data["status"]) for change in captured.logged()] == [("I", "new"), ("U", "checked")]


def test_ids_follow_the_order_of_a_row_s_changes(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    captured.capture("public.t")
    captured.execute("INSERT INTO t VALUES (1, 0)")
    with captured.connect() as one, captured.connect() as other:
        for n in range(1, 41, 2):
            one.execute("UPDATE t SET n = n + 1 -- %s", [n])
            other.execute("UPDATE t SET n = n + 1")
    assert [change.data["n"] for change in captured.logged()] == list(range(41))
    cache = captured.execute("SELECT seqcache FROM pg_sequence WHERE seqrelid = 'cdc_hooks.change_id'::regclass")
    assert cache.fetchone() == (1,)


def test_bulk_statements_are_logged_in_the_order_of_their_rows(captured: Captured) -> None:
    captured.execute(TABLE)
    captured.capture("public.t", level="statement")
    captured.execute("INSERT INTO t SELECT i FROM generate_series(5000, 1, -1) AS i")
    captured.execute("UPDATE t SET id = id + 10000")
    rows = captured.rows()
    assert [int(row.key) for row in rows[:5000]] == list(range(5000, 0, -1))
    assert [int(row.old_key) for row in rows[5000:]] == list(range(5000, 0, -1))
    assert all(int(row.key) == int(row.old_key) + 10000 for row in rows[5000:])
