"""Plans and their execution: errors before anything is changed, patience with locks, safe to repeat at any point."""

from __future__ import annotations

import subprocess
from typing import Any

import psycopg
import pytest

from cdc_hooks.capture import Patience, Plan, Progress, Roles, Step, Wanted, apply, plan, plan_removal, remove
from cdc_hooks.demo.postgres import PostgresServer
from cdc_hooks.errors import ConfigError, DatabaseError
from cdc_hooks.model import Action
from tests.db.conftest import ROW_ACTIONS, Captured, roles_for

INSERT = frozenset({Action.INSERT})
TABLES = """
    CREATE SCHEMA sales;
    CREATE TABLE orders (id int PRIMARY KEY, status text);
    CREATE TABLE sales.orders (id int PRIMARY KEY);
    CREATE VIEW orders_view AS SELECT * FROM orders;
    CREATE MATERIALIZED VIEW orders_stored AS SELECT * FROM orders"""
# What `apply` and the script must both lead to.
STATE = """
    SELECT 'trigger', pg_get_triggerdef(oid), tgenabled::text, obj_description(oid) FROM pg_trigger
     WHERE tgname ~ 'cdc_hooks'
    UNION ALL SELECT 'function', pg_get_functiondef(oid), proowner::regrole::text, proacl::text FROM pg_proc
     WHERE pronamespace = 'cdc_hooks'::regnamespace
    UNION ALL SELECT 'class', relname, relowner::regrole::text, relacl::text FROM pg_class
     WHERE relnamespace = 'cdc_hooks'::regnamespace
    UNION ALL SELECT 'schema', nspowner::regrole::text, nspacl::text, obj_description(oid) FROM pg_namespace
     WHERE nspname = 'cdc_hooks'
    UNION ALL SELECT 'version', max(version)::text, NULL, NULL FROM cdc_hooks.migration
     ORDER BY 1, 2"""


@pytest.mark.parametrize(("table", "message", "hint"), [
    ("orders", "orders is named without its schema", "write public.orders or sales.orders"),
    ("nothing", "nothing is named without its schema", "SCHEMA.TABLE"),
    ("public.ordres", "no table public.ordres in this database; did you mean public.orders", ""),
    ('public."Orders"', 'no table public."Orders" .*; did you mean public.orders', "need quotes"),
    ("other.db.orders", "no table other.db.orders", ""),
    ('public."open', "not the name of a table", "public.orders"),
    ("public.orders_view", "public.orders_view: is a view", ""),
    ("public.orders_stored", "is a materialised view", ""),
    ("pg_catalog.pg_class", "is a table of PostgreSQL", ""),
    ("information_schema.sql_features", "is a table of PostgreSQL", ""),
])  # fmt: skip
def test_what_cannot_be_captured_is_refused(captured: Captured, table: str, message: str, hint: str) -> None:
    captured.execute(TABLES)
    with pytest.raises(ConfigError, match=message) as refused:
        captured.plan(Wanted(table, INSERT))
    assert hint in str(refused.value.hint or "")


def test_a_name_with_a_control_character_is_refused(captured: Captured) -> None:
    captured.execute('CREATE TABLE "order\x1fitems" (id int PRIMARY KEY)')
    with pytest.raises(ConfigError, match="control character in its name"):
        captured.plan(Wanted('public."order\x1fitems"', INSERT))


def test_temporary_and_foreign_tables_are_refused(captured: Captured) -> None:
    captured.execute("CREATE TEMPORARY TABLE t (id int)")
    schema = captured.execute("SELECT pg_my_temp_schema()::regnamespace::text").fetchone()
    assert schema
    with pytest.raises(ConfigError, match="is a temporary table"):
        captured.plan(Wanted(f"{schema[0]}.t", INSERT))
    captured.execute(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f () SERVER s"
    )
    with pytest.raises(ConfigError, match=r"public\.f: is a foreign table"):
        captured.plan(Wanted("public.f", INSERT))


@pytest.mark.parametrize(("options", "message"), [
    ({"columns": ("id", "statsu")}, r"public\.orders has no column statsu \(named in columns\); did you mean status"),
    ({"exclude": ("ide",)}, r"no column ide \(named in exclude\); did you mean id"),
    ({"key": ("idd",)}, r"no column idd \(named in key\); did you mean id"),
    ({"columns": ("id",), "exclude": ("id",)}, "no column is left"),
    ({"level": "statement", "when": "true"}, "no condition"),
    ({"max_row_bytes": 1 << 30}, "max_row_bytes"),
])  # fmt: skip
def test_options_that_do_not_fit_the_table_are_refused(captured: Captured, options: Any, message: str) -> None:
    captured.execute(TABLES)
    with pytest.raises(ConfigError, match=message):
        captured.plan(Wanted("public.orders", INSERT, **options))


def test_a_table_named_twice_is_refused(captured: Captured) -> None:
    captured.execute(TABLES)
    with pytest.raises(ConfigError, match="are the same"):
        captured.plan(Wanted("public.orders", INSERT), Wanted("PUBLIC.Orders", INSERT))


def test_a_plan_changes_nothing(captured: Captured) -> None:
    captured.execute(TABLES)
    before = captured.execute("SELECT count(*), max(oid) FROM pg_class").fetchall()
    wanted = Wanted("public.orders", ROW_ACTIONS, when="NEW.status <> 'x'")
    assert captured.plan(wanted)
    assert captured.plan(wanted)
    assert captured.execute("SELECT count(*), max(oid) FROM pg_class").fetchall() == before
    assert captured.execute("SELECT to_regrole(%s)", captured.roles.owner).fetchone() == (None,)


def test_the_steps_say_what_they_do(captured: Captured) -> None:
    captured.execute(TABLES)
    lines = [line for step in captured.plan(Wanted("public.orders", INSERT)).steps for line in step.lines]
    owner, daemon = captured.roles.owner, captured.roles.daemon
    assert [line.partition(",")[0].partition(" its rights")[0] for line in lines] == [
        f"create role {owner}",
        f"create role {daemon}",
        "create the schema cdc_hooks",
        f"grant the daemon's role {daemon}",
        "create capture of public.orders insert",
    ]
    captured.capture("public.orders", actions=INSERT)
    changed = captured.plan(Wanted("public.orders", ROW_ACTIONS - INSERT, when={Action.UPDATE: "true"}))
    assert [line for step in changed.steps for line in step.lines] == [
        "create capture of public.orders update",
        "create capture of public.orders delete",
        "remove capture of public.orders insert",
        "drop function cdc_hooks.capture_public_orders_insert",
    ]
    replaced = captured.plan(Wanted("public.orders", INSERT, columns=("id",)))
    assert [line for step in replaced.steps for line in step.lines] == [
        "replace capture of public.orders insert: function capture_public_orders_insert: its body is another"
    ]


def test_applying_twice_changes_nothing(captured: Captured) -> None:
    captured.execute(TABLES)
    [wanted] = captured.capture("public.orders", actions=frozenset(Action))
    before = captured.execute(STATE).fetchall()
    assert apply(captured.conn, [wanted], captured.roles).steps == ()
    assert captured.execute(STATE).fetchall() == before


def test_the_script_leads_where_apply_leads(database: str, server: PostgresServer) -> None:
    roles = roles_for(database)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
        conn.execute("CREATE TABLE parts (id int) PARTITION BY HASH (id)")
        conn.execute("CREATE TABLE part PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
        first = [
            Wanted("public.orders", frozenset(Action), when="NEW.status <> 'x' -- or so"),
            Wanted("sales.orders", INSERT, level="statement"),
            Wanted("public.parts", ROW_ACTIONS),
        ]
        then = [Wanted("public.orders", INSERT, columns=("id",)), Wanted("public.parts", ROW_ACTIONS, key=("id",))]
        ran = []
        for wanted in (first, then):
            _psql(server, database, plan(conn, wanted, roles).sql())
            assert not plan(conn, wanted, roles)
            ran.append(conn.execute(STATE).fetchall())
        _psql(server, database, plan_removal(conn, None, roles).sql())
        assert conn.execute("SELECT to_regnamespace('cdc_hooks'), to_regrole(%s)", [roles.owner]).fetchone() == (
            None,
            None,
        )
        for wanted, by_script in zip((first, then), ran, strict=True):
            apply(conn, wanted, roles)
            assert conn.execute(STATE).fetchall() == by_script


def _psql(server: PostgresServer, dsn: str, script: str) -> None:
    done = subprocess.run(
        [server.tool("psql"), "-X", "-q", "-d", dsn], input=script, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_script_that_waits_for_a_lock_stops(captured: Captured, server: PostgresServer) -> None:
    captured.execute(TABLES)
    script = captured.plan(Wanted("public.orders", INSERT)).sql(lock_timeout_s=0.05)
    with captured.connect() as busy, busy.transaction():
        busy.execute("INSERT INTO orders VALUES (1)")
        with pytest.raises(AssertionError, match="lock timeout"):
            _psql(server, captured.dsn, script)
    _psql(server, captured.dsn, captured.plan(Wanted("public.orders", INSERT)).sql())
    assert captured.audit(Wanted("public.orders", INSERT)) == ()


def test_a_locked_table_is_waited_for_and_tried_again(captured: Captured) -> None:
    captured.execute(TABLES)
    seen: list[Progress] = []
    with captured.connect() as busy:
        busy.execute("BEGIN; INSERT INTO orders VALUES (1)")
        apply(
            captured.conn,
            [Wanted("public.orders", INSERT)],
            captured.roles,
            on_step=lambda step, progress: seen.append(progress) if step.subject == "table public.orders" else None,
            patience=Patience(lock_timeout_s=0.05, pause=lambda _s: busy.rollback() if len(seen) == 3 else None),
        )
    assert seen == [Progress.STARTED, Progress.WAITING, Progress.WAITING, Progress.DONE]


def test_a_lock_that_is_never_free_is_an_error_and_nobody_waits_behind_us(captured: Captured) -> None:
    captured.execute(TABLES)
    pauses: list[float] = []

    def meanwhile(seconds: float) -> None:
        pauses.append(seconds)
        with captured.connect(options="-c lock_timeout=1000") as other:
            other.execute("UPDATE orders SET status = 'x'")

    with captured.connect() as busy, busy.transaction():
        busy.execute("INSERT INTO orders VALUES (1)")
        with pytest.raises(DatabaseError, match=r"table public\.orders: a lock was not free within 0.05 s, 3 times"):
            apply(
                captured.conn,
                [Wanted("public.orders", INSERT)],
                captured.roles,
                patience=Patience(lock_timeout_s=0.05, attempts=3, pause=meanwhile),
            )
    assert pauses == sorted(pauses)
    assert len(pauses) == 2
    assert captured.conn.execute("SHOW lock_timeout").fetchone() == ("0",)
    captured.capture("public.orders", actions=INSERT)


def test_a_changed_body_takes_no_lock_on_the_table(captured: Captured) -> None:
    captured.execute(TABLES)
    captured.capture("public.orders")
    with captured.connect() as busy, busy.transaction():
        busy.execute("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        changed = Wanted("public.orders", ROW_ACTIONS, columns=("id",))
        apply(captured.conn, [changed], captured.roles, patience=Patience(lock_timeout_s=0.05, attempts=1))
        busy.execute("INSERT INTO orders VALUES (1, 'x')")
    assert captured.rows()[0].data == '{"id":1}'


def test_two_who_apply_at_once_meet_cleanly(captured: Captured) -> None:
    captured.execute(TABLES)
    wanted = [Wanted("public.orders", ROW_ACTIONS)]
    with captured.connect() as other:

        def interrupt(_step: Step, progress: Progress) -> None:
            if progress is Progress.STARTED:
                with pytest.raises(DatabaseError, match="somebody else is applying"):
                    apply(other, wanted, captured.roles, patience=Patience(lock_timeout_s=0.01))

        apply(captured.conn, wanted, captured.roles, on_step=interrupt)
        assert not apply(other, wanted, captured.roles)
    assert captured.audit(*wanted) == ()


@pytest.mark.parametrize("dies_at", range(6))
def test_an_apply_that_dies_can_be_repeated(captured: Captured, dies_at: int) -> None:
    captured.execute(TABLES)
    wanted = [Wanted("public.orders", ROW_ACTIONS), Wanted("sales.orders", ROW_ACTIONS)]
    steps: list[Step] = []

    def die(step: Step, progress: Progress) -> None:
        if progress is Progress.STARTED:
            steps.append(step)
            if len(steps) == dies_at + 1:
                captured.execute("SELECT pg_terminate_backend(%s)", victim.info.backend_pid)

    with captured.connect() as victim, pytest.raises(DatabaseError, match="the connection was lost"):
        apply(victim, wanted, captured.roles, on_step=die)
    assert len(steps) == dies_at + 1
    done = apply(captured.conn, wanted, captured.roles)
    assert steps[-1].lines == done.steps[0].lines
    assert captured.audit(*wanted) == ()
    captured.execute("INSERT INTO orders VALUES (1); INSERT INTO sales.orders VALUES (2)")
    assert captured.keys() == [("I", 1), ("I", 2)]


def test_removing_tables_leaves_the_others(captured: Captured) -> None:
    captured.execute(TABLES)
    captured.capture("public.orders", "sales.orders")
    done = remove(captured.conn, ["public.orders"], captured.roles)
    assert [step.subject for step in done.steps] == ["table public.orders", "unused functions"]
    captured.execute("INSERT INTO orders VALUES (1); INSERT INTO sales.orders VALUES (2)")
    assert captured.keys() == [("I", 2)]
    assert captured.audit(Wanted("sales.orders", ROW_ACTIONS)) == ()
    functions = captured.execute(
        "SELECT proname FROM pg_proc WHERE starts_with(proname, 'capture_') ORDER BY 1"
    ).fetchall()
    assert [name for (name,) in functions] == [
        f"capture_sales_orders_{action}" for action in ("delete", "insert", "update")
    ]
    assert not remove(captured.conn, ["public.orders"], captured.roles)
    with pytest.raises(ConfigError, match=r"no table sales\.order .*did you mean sales\.orders"):
        remove(captured.conn, ["sales.order"], captured.roles)


def test_removing_everything_leaves_nothing_and_can_be_repeated(captured: Captured) -> None:
    captured.execute(TABLES)
    captured.capture("public.orders", "sales.orders")
    remove(captured.conn, None, captured.roles)
    assert not remove(captured.conn, None, captured.roles)
    left = captured.execute(
        "SELECT (SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal), to_regnamespace('cdc_hooks'), to_regrole(%s)",
        captured.roles.owner,
    )
    assert left.fetchone() == (0, None, None)
    captured.execute("INSERT INTO orders VALUES (1)")
    captured.capture("public.orders")


def test_the_owner_s_role_stays_while_another_database_needs_it(captured: Captured, server: PostgresServer) -> None:
    other = f"{captured.conn.info.dbname}_other"
    captured.execute(f"CREATE DATABASE {other}")
    try:
        with psycopg.connect(server.dsn(other), autocommit=True) as conn:
            apply(conn, [], captured.roles)
            captured.capture()
            remove(captured.conn, None, captured.roles)
            assert captured.execute("SELECT to_regrole(%s) IS NULL", captured.roles.owner).fetchone() == (False,)
            remove(conn, None, captured.roles)
            assert captured.execute("SELECT to_regrole(%s) IS NULL", captured.roles.owner).fetchone() == (True,)
    finally:
        captured.execute(f"DROP DATABASE {other} WITH (FORCE)")


def test_an_empty_plan_is_false() -> None:
    assert not Plan("x", ())
    assert Plan("x", (Step("y", (), ()),))
    assert Roles(daemon="d").owner == "cdc_hooks_owner"
