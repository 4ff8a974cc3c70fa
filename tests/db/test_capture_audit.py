"""The audit, with the daemon's rights: whatever takes a capture away or changes it is noticed, and apply mends it."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg.rows import dict_row

from cdc_hooks.capture import CATALOG_QUERIES, Finding, Roles, State, Wanted, findings, parameters
from cdc_hooks.model import Action
from tests.db.conftest import Captured

INSERT = frozenset({Action.INSERT})
FUNCTION = "cdc_hooks.capture_public_t_insert()"
REPLACE = 'CREATE OR REPLACE TRIGGER "00_cdc_hooks_insert" AFTER INSERT ON t FOR EACH'
EDITED = f"""
    DO $$ DECLARE body text := (SELECT prosrc FROM pg_proc WHERE oid = '{FUNCTION[:-2]}'::regproc);
    BEGIN EXECUTE format('CREATE OR REPLACE FUNCTION {FUNCTION} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER'
        ' SET search_path = pg_catalog, pg_temp AS %L', replace(body, 'INSERT INTO', 'INSERT  INTO')); END $$"""


@pytest.mark.parametrize(("damage", "state"), [
    ('DROP TRIGGER "00_cdc_hooks_insert" ON t', State.MISSING),
    (f"DROP FUNCTION {FUNCTION} CASCADE", State.MISSING),
    ("ALTER TABLE t DISABLE TRIGGER ALL", State.DISABLED),
    ("ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ENABLE TRIGGER ALL", State.DISABLED),
    ('ALTER TABLE t ENABLE REPLICA TRIGGER "00_cdc_hooks_insert"', State.DISABLED),
    ('COMMENT ON TRIGGER "00_cdc_hooks_insert" ON t IS NULL', State.OUTDATED),
    (f"{REPLACE} STATEMENT EXECUTE FUNCTION {FUNCTION}", State.OUTDATED),
    (f"{REPLACE} ROW WHEN (false) EXECUTE FUNCTION {FUNCTION}", State.OUTDATED),
    (REPLACE.replace("INSERT ON", "UPDATE ON") + f" ROW EXECUTE FUNCTION {FUNCTION}", State.OUTDATED),
    (EDITED, State.OUTDATED),
    (f"ALTER FUNCTION {FUNCTION} SECURITY INVOKER", State.OUTDATED),
    (f"ALTER FUNCTION {FUNCTION} RESET search_path", State.OUTDATED),
    (f"ALTER FUNCTION {FUNCTION} SET work_mem = '1MB'", State.OUTDATED),
    (f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO PUBLIC", State.OUTDATED),
    ("ALTER TABLE t RENAME COLUMN id TO id2", State.OUTDATED),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey", State.OUTDATED),
    ("ALTER TABLE t ALTER COLUMN note TYPE timestamptz USING now()", State.OUTDATED),
])  # fmt: skip
def test_damage_is_noticed_and_mended(captured: Captured, damage: str, state: State) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, note text)")
    [wanted] = captured.capture("public.t", actions=INSERT)
    assert captured.audit(wanted) == ()
    captured.execute(damage)
    found = captured.audit(wanted)
    assert {finding.state for finding in found} == {state}
    assert {(finding.table, finding.action) for finding in found} == {("public.t", Action.INSERT)}
    assert captured.plan(wanted)
    captured.capture(wanted)
    assert captured.audit(wanted) == ()
    assert not captured.plan(wanted)
    captured.execute("SET session_replication_role = replica; INSERT INTO t VALUES (1)")
    assert [row.action for row in captured.rows()] == ["I"]


def test_a_trigger_of_our_name_that_is_not_ours_is_reported_and_left_alone(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY)")
    captured.execute("CREATE FUNCTION app() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    captured.execute(f"{REPLACE} ROW EXECUTE FUNCTION app()")
    wanted = Wanted("public.t", INSERT)
    with pytest.raises(Exception, match=r"00_cdc_hooks_insert on public\.t calls app") as refused:
        captured.capture(wanted)
    assert refused.type.__name__ == "DatabaseError"
    captured.capture()
    assert State.FOREIGN in {finding.state for finding in captured.audit(wanted)}


def test_what_nobody_wants_any_more_is_reported(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    t, _ = captured.capture("public.t", "public.u", actions=INSERT)
    assert [(f.table, f.state) for f in captured.audit(t)] == [("public.u", State.UNWANTED)]


def test_a_table_that_is_gone_or_has_lost_a_column_is_reported(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int)")
    [wanted] = captured.capture("public.t", actions=INSERT, columns=("a", "b"))
    captured.execute("ALTER TABLE t DROP COLUMN b")
    [lost] = captured.audit(wanted)
    assert lost == Finding("public.t", None, State.OUTDATED, lost.detail)
    assert "no column b" in lost.detail
    captured.execute("ALTER TABLE t RENAME TO tt")
    [gone] = captured.audit(wanted)
    assert gone == Finding("public.t", None, State.MISSING, gone.detail)
    assert "did you mean public.tt?" in gone.detail


def test_before_the_first_apply_all_is_missing(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY)")
    captured.roles = Roles(daemon="postgres")
    assert {finding.state for finding in captured.audit(Wanted("public.t", INSERT))} == {State.MISSING}


def test_the_daemon_runs_the_queries_itself(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY)")
    wanted = captured.capture("public.t")
    captured.execute('ALTER TABLE t DISABLE TRIGGER "00_cdc_hooks_delete"')

    async def look() -> tuple[Finding, ...]:
        connecting = psycopg.AsyncConnection.connect(captured.dsn, user=captured.roles.daemon, row_factory=dict_row)
        async with await connecting as conn:
            rows = {
                name: await (await conn.execute(query, parameters(one.table for one in wanted))).fetchall()
                for name, query in CATALOG_QUERIES.items()
            }
        return findings(wanted, rows)

    found = asyncio.run(look())
    assert [(finding.action, finding.state) for finding in found] == [(Action.DELETE, State.DISABLED)]
