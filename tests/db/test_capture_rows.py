"""What is logged of a row: its JSON, its key, and never an error for what an application may write."""

from __future__ import annotations

import json

import psycopg
import pytest

from cdc_hooks.capture import Wanted
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action
from tests.db.conftest import ROW_ACTIONS, Captured


def test_insert_update_delete_and_truncate_are_logged(captured: Captured) -> None:
    captured.execute("CREATE TABLE orders (id bigint PRIMARY KEY, status text)")
    captured.capture("public.orders", actions=frozenset(Action))
    captured.execute("INSERT INTO orders VALUES (1, 'new')")
    captured.execute("UPDATE orders SET status = 'paid'")
    captured.execute("DELETE FROM orders")
    captured.execute("TRUNCATE orders")
    assert captured.logged() == [
        ("I", 1, {"id": 1, "status": "new"}),
        ("U", 1, {"id": 1, "status": "paid"}),
        ("D", 1, {"id": 1, "status": "paid"}),
        ("T", None, None),
    ]
    assert {row.table_name for row in captured.rows()} == {"public.orders"}
    assert {row.truncated for row in captured.rows()} == {None}


ALIASES = (
    "n",
    "new",
    "old",
    "r",
    "row",
    "chosen",
    "captured",
    "made",
    "row_json",
    "key_before",
    "key",
    "data",
    "action",
)


@pytest.mark.parametrize("level", ["row", "statement"])
@pytest.mark.parametrize("some", [False, True])
def test_no_column_name_collides_with_ours(captured: Captured, level: str, some: bool) -> None:
    columns = (*ALIASES, "row_before", "row_after", "ordinal", "row_key", "table_name", "old_rows", "new_rows")
    definition = ", ".join(f'"{name}" text' for name in columns)
    captured.execute(f"CREATE TABLE t (id int PRIMARY KEY, {definition})")
    captured.capture("public.t", level=level, columns=("id", *columns) if some else None)
    captured.execute("INSERT INTO t (id, n) VALUES (1, 'x')")
    captured.execute("UPDATE t SET captured = 'y'")
    captured.execute("DELETE FROM t")
    everything = {"id": 1, **dict.fromkeys(columns), "n": "x"}
    assert [change.data for change in captured.logged()] == [
        everything,
        {**everything, "captured": "y"},
        {**everything, "captured": "y"},
    ]


@pytest.mark.parametrize("value", [r'{"a": "\u0000"}', "1e200000", '{"b":1, "b":2}', '{ "spaces" :  1 }'])
def test_json_that_jsonb_would_refuse_is_passed_through(captured: Captured, value: str) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, doc json)")
    captured.capture("public.t")
    captured.execute("INSERT INTO t VALUES (1, %s)", value)
    captured.execute("UPDATE t SET id = 2")
    assert [row.data for row in captured.rows()] == [f'{{"id":1,"doc":{value}}}', f'{{"id":2,"doc":{value}}}']


def test_a_condition_can_compare_rows_with_json_columns(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, doc json)")
    captured.capture("public.t", actions=frozenset({Action.UPDATE}), when="OLD.* *<> NEW.*")
    captured.execute("INSERT INTO t VALUES (1, '{}')")
    captured.execute("UPDATE t SET doc = '{}'")
    captured.execute("UPDATE t SET doc = '[]'")
    assert [row.data for row in captured.rows()] == ['{"id":1,"doc":[]}']


CREATE_TYPES = """
    CREATE DOMAIN moment AS timestamptz;
    CREATE TYPE stay AS (arrived moment, lasted interval);
    CREATE TYPE moments AS RANGE (subtype = moment)"""
ODD_SETTINGS = (
    "-c TimeZone=Asia/Kathmandu -c DateStyle=German,DMY -c IntervalStyle=sql_standard -c bytea_output=escape "
    "-c extra_float_digits=-5 -c search_path=pg_temp"
)
AT, AT_JSON = "2026-01-02 03:04:05Z", "2026-01-02T03:04:05+00:00"


# One at a time: a setting that one type needs would hide that it is missing for another.
@pytest.mark.parametrize(("column_type", "value", "expected"), [
    ("timestamptz", AT, AT_JSON),
    ("public.moment", AT, AT_JSON),
    ("public.moment[]", f'{{"{AT}"}}', [AT_JSON]),
    ("public.stay", f'("{AT}","1 day 2 hours")', {"arrived": AT_JSON, "lasted": "P1DT2H"}),
    ("public.stay[]", f'{{"(\\"{AT}\\",1 day)"}}', [{"arrived": AT_JSON, "lasted": "P1D"}]),
    ("daterange", "[2026-01-02,2026-01-03)", "[2026-01-02,2026-01-03)"),
    ("tsrange", "[2026-01-02 03:04:05,)", '["2026-01-02 03:04:05",)'),
    ("tstzrange", f"[{AT},)", '["2026-01-02 03:04:05+00",)'),
    ("tstzmultirange", f"{{[{AT},)}}", '{["2026-01-02 03:04:05+00",)}'),
    ("public.moments", f"[{AT},)", '["2026-01-02 03:04:05+00",)'),
    ("interval", "1 day 2 hours", "P1DT2H"),
    ("bytea", r"\x00ff", r"\x00ff"),
    ("float8", "0.30000000000000004", 0.30000000000000004),
    ("float4[]", "{0.30000001}", [0.3]),
    ("point", "(0.30000000000000004,1)", "(0.30000000000000004,1)"),
    ("date", "2026-01-02", "2026-01-02"),
    ("timestamp", "2026-01-02 03:04:05", "2026-01-02T03:04:05"),
    ("regclass", "pg_class", "pg_class"),
])  # fmt: skip
def test_values_do_not_depend_on_the_settings_of_a_session(
    captured: Captured, column_type: str, value: str, expected: object
) -> None:
    captured.execute(CREATE_TYPES)
    captured.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {column_type})")
    captured.capture("public.t")
    insert = psycopg.sql.SQL("INSERT INTO public.t VALUES (1, {})").format(value)
    with captured.connect(options=ODD_SETTINGS) as odd:
        odd.execute(insert)
    captured.execute("UPDATE t SET id = 2")
    assert [change.data for change in captured.logged()] == [{"id": 1, "v": expected}, {"id": 2, "v": expected}]


def test_settings_are_pinned_only_where_a_captured_column_needs_them(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, took interval, at timestamptz)")
    captured.execute(
        "CREATE TABLE plain (id int PRIMARY KEY, name text, doc jsonb, day date, stamp timestamp, tags text[])"
    )
    captured.capture("public.plain", Wanted("public.t", frozenset({Action.INSERT}), columns=("took",)))
    pinned = dict(
        captured.execute("SELECT proname, proconfig FROM pg_proc WHERE starts_with(proname, 'capture_')").fetchall()
    )
    assert pinned["capture_public_plain_insert"] == ["search_path=pg_catalog, pg_temp"]
    assert pinned["capture_public_t_insert"] == ["search_path=pg_catalog, pg_temp", "IntervalStyle=iso_8601"]


@pytest.mark.parametrize(
    ("schema", "table", "log_name"),
    [
        ("public", '"Order Items"', 'public."Order Items"'),
        ('"naïve"', '"ta""ble"', '"naïve"."ta""ble"'),
        ('"sélect"', '"From"', '"sélect"."From"'),
        ("x" * 63, f'"{"é" * 31}"', f'{"x" * 63}."{"é" * 31}"'),
        ("public", '"order"', "public.order"),
        ('"a.b"', '"c$d"', '"a.b"."c$d"'),
        ("Public", "Orders", "public.orders"),
    ],
)
@pytest.mark.parametrize("level", ["row", "statement"])
def test_any_name_works(captured: Captured, schema: str, table: str, log_name: str, level: str) -> None:
    name = f"{schema}.{table}"
    captured.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    captured.execute(
        f'CREATE TABLE {name} ("Id" int PRIMARY KEY, "o""k" text, "$cdc_hooks$" int, "{{x}}" int, "%s" int)'
    )
    wanted = captured.capture(name, level=level, columns=("Id", '"o""k"', "$cdc_hooks$", "{x}", "%s"))
    captured.execute(f"INSERT INTO {name} VALUES (1, 'x', 2, 3, 4)")
    assert captured.logged() == [("I", 1, {"Id": 1, 'o"k': "x", "$cdc_hooks$": 2, "{x}": 3, "%s": 4})]
    assert captured.rows()[0].table_name == log_name
    assert not captured.plan(*wanted)
    assert captured.audit(*wanted) == ()


def test_names_that_look_alike_get_functions_of_their_own(captured: Captured) -> None:
    tables = ("a_b.c", "a.b_c", f"a.{'x' * 60}", f"a.{'x' * 59}y", 'a."B"', "a.b")
    captured.execute("CREATE SCHEMA a; CREATE SCHEMA a_b")
    for table in tables:
        captured.execute(f"CREATE TABLE {table} (id int PRIMARY KEY)")
    captured.capture(*tables)
    for table in tables:
        captured.execute(f"INSERT INTO {table} VALUES (1)")
    assert [row.table_name for row in captured.rows()] == list(tables)


def test_keys_of_several_columns_are_objects_in_key_order(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (a int, note text, b text, PRIMARY KEY (b, a))")
    captured.capture("public.t", columns=("note",))
    captured.execute("INSERT INTO t VALUES (1, 'x', 'k')")
    captured.execute("UPDATE t SET note = 'y'")
    captured.execute("UPDATE t SET a = 2")
    rows = captured.rows()
    assert [(row.key, row.old_key) for row in rows] == [
        ('{"b":"k","a":1}', None),
        ('{"b":"k","a":1}', None),
        ('{"b":"k","a":2}', '{"b":"k","a":1}'),
    ]
    assert [row.data for row in rows] == ['{"note":"x"}', '{"note":"y"}', '{"note":"y"}']


@pytest.mark.parametrize("level", ["row", "statement"])
def test_an_update_of_the_key_logs_the_old_one(captured: Captured, level: str) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, note text)")
    captured.capture("public.t", level=level)
    captured.execute("INSERT INTO t VALUES (1), (2), (30)")
    captured.execute("UPDATE t SET id = CASE WHEN id < 30 THEN id + 1 ELSE id END")
    assert [(row.key, row.old_key) for row in captured.rows()[3:]] == [("2", "1"), ("3", "2"), ("30", None)]


def test_a_table_without_a_key_has_none(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (a int)")
    [wanted] = captured.capture("public.t")
    captured.execute("INSERT INTO t VALUES (1)")
    captured.execute("UPDATE t SET a = 2")
    captured.execute("DELETE FROM t")
    assert captured.keys() == [("I", None), ("U", None), ("D", None)]
    assert "public.t: no primary key: rowId will be 0" in captured.plan(wanted).notes


@pytest.mark.parametrize(
    ("definition", "value", "key"),
    [
        ("json", "'{\"a\": 1}'", {"a": 1}),
        ("text", "'é\"'", 'é"'),
        ("uuid", "'00000000-0000-0000-0000-000000000001'", "00000000-0000-0000-0000-000000000001"),
        ("numeric", "12345678901234567890.50", 12345678901234567890.50),
        ("smallint", "-1", -1),
        ("bigint", "9223372036854775807", 9223372036854775807),
        ("information_schema.cardinal_number", "7", 7),  # a domain
    ],
)
def test_a_key_can_be_chosen_and_of_any_type(captured: Captured, definition: str, value: str, key: object) -> None:
    captured.execute(f"CREATE TABLE t (id int PRIMARY KEY, other {definition})")
    captured.capture("public.t", key=("other",))
    captured.execute(f"INSERT INTO t VALUES (1, {value})")
    captured.execute("UPDATE t SET id = 2")
    captured.execute("UPDATE t SET other = NULL")
    assert captured.keys() == [("I", key), ("U", key), ("U", None)]
    assert captured.rows()[1].old_key is None
    assert json.loads(captured.rows()[2].old_key) == key


def test_columns_added_later_are_captured_where_all_are(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int)")
    [wanted] = captured.capture("public.t")
    captured.execute("INSERT INTO t VALUES (1, 2, 3)")
    captured.execute("ALTER TABLE t ADD COLUMN c int DEFAULT 4, DROP COLUMN a")
    captured.execute("INSERT INTO t VALUES (2, 3, 5)")
    assert [change.data for change in captured.logged()] == [{"id": 1, "a": 2, "b": 3}, {"id": 2, "b": 3, "c": 5}]
    assert captured.audit(wanted) == ()


def test_excluded_columns_are_left_out_and_added_ones_noticed(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, card text)")
    [wanted] = captured.capture("public.t", exclude=("card",), actions=frozenset({Action.INSERT}))
    captured.execute("INSERT INTO t VALUES (1, 'secret')")
    assert [row.data for row in captured.rows()] == ['{"id":1}']
    captured.execute("ALTER TABLE t ADD COLUMN more int")
    assert [(f.action, f.state) for f in captured.audit(wanted)] == [(Action.INSERT, "outdated")]
    captured.capture(wanted)
    captured.execute("INSERT INTO t VALUES (2, 'secret', 3)")
    assert captured.logged()[1].data == {"id": 2, "more": 3}


def test_generated_columns(captured: Captured, pg_version: int) -> None:
    virtual = ", v int GENERATED ALWAYS AS (a + 1) VIRTUAL" if pg_version >= 18 else ""
    captured.execute(f"CREATE TABLE t (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED{virtual})")
    [wanted] = captured.capture("public.t")
    captured.execute("INSERT INTO t VALUES (1, 2)")
    captured.execute("UPDATE t SET a = 3")
    assert [change.data for change in captured.logged()] == [{"id": 1, "a": 2, "s": 4}, {"id": 1, "a": 3, "s": 6}]
    said = any("virtual generated column v is left out" in note for note in captured.plan(wanted).notes)
    assert said is (pg_version >= 18)
    if virtual:
        with pytest.raises(ConfigError, match="virtual generated column"):
            captured.plan(Wanted("public.t", ROW_ACTIONS, key=("v",)))


@pytest.mark.parametrize("level", ["row", "statement"])
def test_rows_above_the_limit_are_logged_by_their_key(captured: Captured, level: str) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, blob bytea, doc jsonb, tags text[])")
    captured.capture("public.t", level=level, max_row_bytes=10_000)
    captured.execute(
        "INSERT INTO t VALUES (1, 'x'), (2, convert_to(repeat('x', 6000), 'UTF8'))"
    )  # twice as long as hex
    captured.execute("UPDATE t SET id = id + 10 WHERE id = 2")
    captured.execute("UPDATE t SET blob = NULL, tags = array_fill('abc'::text, ARRAY[5000]) WHERE id = 1")
    captured.execute("DELETE FROM t WHERE id = 12")
    assert [(row.action, row.key, row.old_key, row.truncated, row.data is None) for row in captured.rows()] == [
        ("I", "1", None, None, False),
        ("I", "2", None, True, True),
        ("U", "12", "2", True, True),
        ("U", "1", None, True, True),
        ("D", "12", None, True, True),
    ]


@pytest.mark.parametrize("level", ["row", "statement"])
def test_a_row_whose_json_would_be_above_one_gigabyte_does_not_abort_the_write(captured: Captured, level: str) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, note text COMPRESSION pglz)")
    captured.capture("public.t", level=level, actions=frozenset({Action.INSERT}))
    # Six bytes of JSON for each.
    captured.execute("INSERT INTO t VALUES (1, repeat(E'\\x01', 190000000))")
    assert [(row.key, row.data, row.truncated) for row in captured.rows()] == [("1", None, True)]


def test_conditions_keep_uninteresting_changes_out(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, status text)")
    captured.capture(
        "public.t", when={Action.UPDATE: "OLD.status <> NEW.status -- only then", Action.DELETE: "OLD.status = 'paid'"}
    )
    captured.execute("INSERT INTO t VALUES (1, 'new'), (2, 'new')")
    captured.execute("UPDATE t SET status = 'paid' WHERE id = 1")
    captured.execute("UPDATE t SET status = status")
    captured.execute("DELETE FROM t")
    assert captured.keys() == [("I", 1), ("I", 2), ("U", 1), ("D", 1)]


def test_one_condition_for_all_never_loses_a_change(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, status text)")
    [wanted] = captured.capture("public.t", when="NEW.status <> 'draft'")
    captured.execute("INSERT INTO t VALUES (1, 'draft'), (2, 'new')")
    captured.execute("DELETE FROM t")
    assert captured.keys() == [("I", 2), ("D", 1), ("D", 2)]
    assert any("does not fit delete" in note for note in captured.plan(wanted).notes)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("NEW.statsu = 'x'", "statsu"),
        ("NEW.status = ", "syntax"),
        ("(SELECT true)", "subquery"),
        ({Action.DELETE: "NEW.id > 0"}, "NEW"),
    ],
)
def test_a_broken_condition_is_refused_before_anything_is_changed(captured: Captured, when: object, said: str) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, status text)")
    with pytest.raises(ConfigError, match=said) as refused:
        captured.capture("public.t", when=when)
    assert "public.t" in refused.value.message
    assert captured.execute("SELECT to_regnamespace('cdc_hooks')").fetchone() == (None,)


def test_a_failing_capture_aborts_the_write_and_names_us(captured: Captured) -> None:
    captured.execute("CREATE TABLE t (id int PRIMARY KEY, a int)")
    captured.capture("public.t", columns=("id", "a"))
    captured.execute("ALTER TABLE t DROP COLUMN a")
    with pytest.raises(psycopg.errors.UndefinedColumn) as failed:
        captured.execute("INSERT INTO t VALUES (1)")
    assert "cdc_hooks.capture_public_t_insert" in str(failed.value.diag.context)
    assert captured.execute("SELECT count(*) FROM t").fetchone() == (0,)
