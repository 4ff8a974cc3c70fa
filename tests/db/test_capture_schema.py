"""The schema: installed by its owner, upgraded by migrations to exactly what is installed fresh, never downgraded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from cdc_hooks.capture import apply, plan
from cdc_hooks.capture.installation import Edition, packaged
from cdc_hooks.demo.postgres import PostgresServer
from cdc_hooks.errors import DatabaseError
from tests.conftest import FOUND
from tests.db.conftest import Captured, roles_for

# Everything in the schema, as the catalogs describe it.
DESCRIPTION = """
    SELECT 'column' AS kind, attrelid::regclass::text AS of, attname::text AS name,
           format_type(atttypid, atttypmod) || attnotnull::text || coalesce(pg_get_expr(adbin, adrelid), '')
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE relnamespace = 'cdc_hooks'::regnamespace AND attnum > 0
    UNION ALL SELECT 'class', oid::regclass::text, relkind::text, relowner::regrole::text
      || coalesce(reloptions::text, '') || coalesce(relacl::text, '') || coalesce(obj_description(oid, 'pg_class'), '')
      FROM pg_class WHERE relnamespace = 'cdc_hooks'::regnamespace
    UNION ALL SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
      FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = 'cdc_hooks'::regnamespace
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = 'cdc_hooks'::regnamespace
    UNION ALL SELECT 'function', oid::regprocedure::text, proowner::regrole::text, pg_get_functiondef(oid)
      FROM pg_proc WHERE pronamespace = 'cdc_hooks'::regnamespace
     ORDER BY 1, 2, 3"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An edition of the future, version 3: today's schema and two migrations."""
    today = packaged()
    (tmp_path / "migrations").mkdir()
    second = "CREATE TABLE cdc_hooks.second (id int PRIMARY KEY);\n"
    third = (
        "ALTER TABLE cdc_hooks.second ADD COLUMN note text;\nCOMMENT ON TABLE cdc_hooks.second IS 'Note: {x} 100%';\n"
    )
    (tmp_path / "migrations" / "0002_second.sql").write_text(second)
    (tmp_path / "migrations" / "0003_note.sql").write_text(third)
    (tmp_path / "schema.sql").write_text(today.schema + second + third)
    return tmp_path


def first(edition: Edition) -> Edition:
    return replace(packaged(), version=1, migrations=()) if edition.version > 1 else edition


def versions(captured: Captured) -> list[int]:
    return [version for (version,) in captured.execute("SELECT version FROM cdc_hooks.migration ORDER BY 1")]


def test_migrations_lead_to_the_schema_that_is_installed_fresh(captured: Captured, directory: Path) -> None:
    future = packaged(directory)
    assert future.version == 3
    apply(captured.conn, [], captured.roles, edition=first(future))
    lines = [step.lines for step in plan(captured.conn, [], captured.roles, edition=future).steps]
    assert lines[:2] == [
        ("upgrade the schema cdc_hooks from version 1 to 2",),
        ("upgrade the schema cdc_hooks from version 2 to 3",),
    ]
    apply(captured.conn, [], captured.roles, edition=future)
    assert versions(captured) == [1, 2, 3]
    assert not plan(captured.conn, [], captured.roles, edition=future)
    migrated = captured.execute(DESCRIPTION).fetchall()
    captured.execute("DROP SCHEMA cdc_hooks CASCADE")
    apply(captured.conn, [], captured.roles, edition=future)
    assert versions(captured) == [3]
    assert captured.execute(DESCRIPTION).fetchall() == migrated


def test_today_s_migrations_lead_to_today_s_schema() -> None:
    today = packaged()
    assert today.version == 1, "install version 1 from the repository's history here, migrate it, and compare"
    assert today.migrations == ()


def test_a_migration_that_fails_leaves_the_version_before_it(captured: Captured, directory: Path) -> None:
    (directory / "migrations" / "0003_note.sql").write_text("CREATE TABLE cdc_hooks.half (); SELECT 1 / 0;")
    future = packaged(directory)
    apply(captured.conn, [], captured.roles, edition=first(future))
    with pytest.raises(DatabaseError, match=r"division by zero .*22012.* from version 2 to 3"):
        apply(captured.conn, [], captured.roles, edition=future)
    assert versions(captured) == [1, 2]
    assert captured.execute("SELECT to_regclass('cdc_hooks.half')").fetchone() == (None,)


def test_a_newer_schema_is_refused_and_both_versions_named(captured: Captured) -> None:
    captured.capture()
    captured.execute("INSERT INTO cdc_hooks.migration (version) VALUES (7)")
    with pytest.raises(DatabaseError, match="version 7, this program knows version 1"):
        captured.plan()


def test_a_gap_in_the_numbers_is_a_mistake(directory: Path) -> None:
    (directory / "migrations" / "0003_note.sql").rename(directory / "migrations" / "0004_note.sql")
    with pytest.raises(ValueError, match=r"0002, 0003, …; found \[2, 4\]"):
        packaged(directory)


@pytest.mark.parametrize(
    "made", ["CREATE SCHEMA cdc_hooks", "CREATE SCHEMA cdc_hooks; CREATE TABLE cdc_hooks.change ()"]
)
def test_a_schema_of_somebody_else_is_left_alone(captured: Captured, made: str) -> None:
    captured.execute(made)
    with pytest.raises(DatabaseError, match="that cdc-hooks did not make"):
        captured.plan()


def test_a_schema_with_another_owner_is_refused(captured: Captured) -> None:
    captured.capture()
    captured.roles = replace(captured.roles, owner="capture_somebody_else")
    with pytest.raises(DatabaseError, match=r"belongs to capture_owner_.*, not to capture_somebody_else"):
        captured.plan()


def test_a_read_only_session_is_refused(captured: Captured) -> None:
    read_only = captured.connect(options="-c default_transaction_read_only=on")
    with read_only as conn, pytest.raises(DatabaseError, match="read-only") as refused:
        plan(conn, [], captured.roles)
    assert "primary" in str(refused.value.hint)


def test_a_standby_is_refused(pg_version: int) -> None:
    with PostgresServer(FOUND[pg_version], durable=False) as server:
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        connection = psycopg.connect(server.dsn(), autocommit=True)
        with connection as conn, pytest.raises(DatabaseError, match="is a standby"):
            plan(conn, [], roles_for(server.dsn()))
