"""Partitioned tables and inheritance: nothing is missed, nothing comes twice, all bears the name of the root."""

from __future__ import annotations

import pytest

from cdc_hooks.capture import State, Wanted
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action
from tests.db.conftest import ROW_ACTIONS, Captured

PARTITIONED = """
    CREATE TABLE orders (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
    CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
    CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
    CREATE TABLE orders_2a PARTITION OF orders_2 FOR VALUES FROM (100) TO (150);
    CREATE TABLE apart (note text, gone int, id int NOT NULL);
    ALTER TABLE apart DROP COLUMN gone"""
INHERITED = """
    CREATE TABLE animal (id int PRIMARY KEY, name text);
    CREATE TABLE dog (breed text, PRIMARY KEY (id)) INHERITS (animal);
    CREATE TABLE puppy (PRIMARY KEY (id)) INHERITS (dog)"""


def table_names(captured: Captured) -> set[str]:
    return {row.table_name for row in captured.rows()}


def test_writes_to_root_and_leaves_are_captured_under_the_root_s_name(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    captured.capture("public.orders")
    captured.execute("INSERT INTO orders VALUES (1), (101)")
    captured.execute("INSERT INTO orders_1 VALUES (2)")
    captured.execute("UPDATE orders_2a SET note = 'x'")
    captured.execute("DELETE FROM orders_2")
    assert captured.keys() == [("I", 1), ("I", 101), ("I", 2), ("U", 101), ("D", 101)]
    assert table_names(captured) == {"public.orders"}


def test_an_update_that_moves_a_row_is_a_delete_and_an_insert(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    captured.capture("public.orders")
    captured.execute("INSERT INTO orders VALUES (1)")
    moved = captured.execute("UPDATE orders SET id = 120, note = 'moved' RETURNING id, note").fetchall()
    assert moved == [(120, "moved")]
    assert captured.keys() == [("I", 1), ("D", 1), ("I", 120)]


def test_a_capture_of_updates_alone_is_warned_about_moved_rows(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    [wanted] = captured.capture("public.orders", actions=frozenset({Action.UPDATE}))
    assert any("moves a row to another partition" in note for note in captured.plan(wanted).notes)


def test_attached_partitions_are_captured_and_in_order(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    [wanted] = captured.capture("public.orders")
    captured.execute("ALTER TABLE orders ATTACH PARTITION apart FOR VALUES FROM (200) TO (300)")
    captured.execute("CREATE TABLE orders_4 PARTITION OF orders FOR VALUES FROM (300) TO (400)")
    captured.execute("INSERT INTO apart (id, note) VALUES (201, 'x')")
    captured.execute("INSERT INTO orders VALUES (301)")
    assert [change.data for change in captured.logged()] == [{"id": 201, "note": "x"}, {"id": 301, "note": None}]
    assert captured.audit(wanted) == ()
    assert not captured.plan(wanted)
    captured.execute("SET session_replication_role = replica; INSERT INTO orders VALUES (202), (302)")
    assert captured.keys()[2:] == [("I", 202), ("I", 302)]


def test_a_detached_partition_is_noticed_until_it_is_gone_or_accepted(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    [wanted] = captured.capture("public.orders")
    captured.execute("ALTER TABLE orders DETACH PARTITION orders_1")
    captured.execute("INSERT INTO orders_1 VALUES (1)")
    assert captured.rows() == []
    [finding] = captured.audit(wanted)
    assert (finding.table, finding.state) == ("public.orders", State.DETACHED)
    assert "public.orders_1" in finding.detail
    assert [step.lines for step in captured.plan(wanted).steps] == [
        ("note that public.orders_1 is no partition of public.orders any more, and is not captured",)
    ]
    captured.capture(wanted)
    assert captured.audit(wanted) == ()
    assert not captured.plan(wanted)


def test_a_dropped_partition_is_not_missed(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    [wanted] = captured.capture("public.orders")
    captured.execute("DROP TABLE orders_1")
    assert captured.audit(wanted) == ()
    assert not captured.plan(wanted)


def test_a_leaf_whose_triggers_are_disabled_is_noticed_and_mended(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    [wanted] = captured.capture("public.orders", actions=frozenset({Action.INSERT}))
    captured.execute("ALTER TABLE orders_2a DISABLE TRIGGER ALL")
    [finding] = captured.audit(wanted)
    assert (finding.state, finding.action) == (State.DISABLED, Action.INSERT)
    assert "public.orders_2a" in finding.detail
    captured.capture(wanted)
    assert captured.audit(wanted) == ()
    captured.execute("INSERT INTO orders VALUES (101)")
    assert captured.keys() == [("I", 101)]


def test_a_changed_capture_replaces_the_clones_too(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    captured.capture("public.orders")
    [wanted] = captured.capture("public.orders", when="NEW.note IS NOT NULL")
    captured.execute("INSERT INTO orders VALUES (1, NULL), (2, 'x'), (101, NULL), (102, 'x')")
    assert captured.keys() == [("I", 2), ("I", 102)]
    assert captured.audit(wanted) == ()
    captured.execute("SET session_replication_role = replica; INSERT INTO orders VALUES (103, 'x')")
    assert captured.keys()[2:] == [("I", 103)]


def test_truncate_of_the_root_is_one_change(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    [wanted] = captured.capture("public.orders", actions=frozenset(Action))
    captured.execute("TRUNCATE orders")
    assert captured.keys() == [("T", None)]
    assert any("TRUNCATE of a single partition" in note for note in captured.plan(wanted).notes)


def test_removal_leaves_nothing_on_the_partitions(captured: Captured) -> None:
    captured.execute(PARTITIONED)
    captured.capture("public.orders")
    captured.capture()
    assert captured.execute("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'cdc_hooks'").fetchone() == (0,)


def test_inheritance_children_are_captured_by_apply(captured: Captured) -> None:
    captured.execute(INHERITED)
    [wanted] = captured.capture("public.animal")
    captured.execute(
        "INSERT INTO animal VALUES (1, 'a'); INSERT INTO dog VALUES (2, 'b', 'c'); INSERT INTO puppy VALUES (3)"
    )
    captured.execute("UPDATE animal SET name = 'x'")
    assert captured.keys() == [("I", 1), ("I", 2), ("I", 3), ("U", 1), ("U", 2), ("U", 3)]
    assert table_names(captured) == {"public.animal"}
    assert not captured.plan(wanted)
    captured.execute("CREATE TABLE cat () INHERITS (animal)")
    assert {(f.state, f.action) for f in captured.audit(wanted)} == {(State.MISSING, action) for action in ROW_ACTIONS}
    captured.capture(wanted)
    captured.execute("INSERT INTO cat VALUES (4)")
    assert captured.keys()[-1] == ("I", 4)
    captured.capture()
    assert captured.execute("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'cdc_hooks'").fetchone() == (0,)


@pytest.mark.parametrize(
    "table", ["public.orders", "public.orders_1", "public.orders_2", "public.animal", "public.dog"]
)
def test_statement_level_is_refused_where_it_would_miss_rows(captured: Captured, table: str) -> None:
    captured.execute(PARTITIONED)
    captured.execute(INHERITED)
    with pytest.raises(ConfigError, match=f"{table}.*would miss rows") as refused:
        captured.capture(table, level="statement")
    assert "level: row" in str(refused.value.hint)


@pytest.mark.parametrize(("root", "member"), [("public.orders", "public.orders_2a"), ("public.animal", "public.puppy")])
def test_no_table_is_captured_twice(captured: Captured, root: str, member: str) -> None:
    captured.execute(PARTITIONED)
    captured.execute(INHERITED)
    with pytest.raises(ConfigError, match=f"{member} belongs to {root}"):
        captured.capture(member, root)
    inserts, deletes = frozenset({Action.INSERT}), frozenset({Action.DELETE})
    captured.capture(Wanted(root, inserts), Wanted(member, deletes))
    captured.execute(f"INSERT INTO {member} (id) VALUES (101); DELETE FROM {member}")
    assert [(row.action, row.table_name) for row in captured.rows()] == [("I", root), ("D", member)]
