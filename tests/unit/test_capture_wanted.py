"""The pure part of capture: conditions, names, settings, limits, the script."""

from __future__ import annotations

import pytest

from cdc_hooks.capture import Plan, Step, Wanted
from cdc_hooks.capture.catalog import Column, Relation, Table
from cdc_hooks.capture.columns import needs_guard, pins, size
from cdc_hooks.capture.definition import function_name
from cdc_hooks.capture.wanted import states_named
from cdc_hooks.model import Action

ALL = frozenset(Action)


def column(
    base_type: str, *, typmod: int = -1, length: int = -1, name: str = "a", plain: str = "", ranged: str = ""
) -> Column:
    return Column(name, name, False, 0, base_type, typmod, length, frozenset(plain.split()), frozenset(ranged.split()))


def table(schema: str, name: str) -> Table:
    return Table(Relation(1, f"{schema}.{name}", "r", False, "me", True), schema, name, "p", False, (), (), ())


@pytest.mark.parametrize(
    ("condition", "states"),
    [
        ("NEW.a > 1", {"new"}),
        ("new.a > Old.b", {"new", "old"}),
        ('"old".a IS NULL', {"old"}),
        ("current_user <> 'app'", set()),
        ("'it''s NEW' = 'x' -- OLD\n", set()),
        ("$q$NEW$q$ = $$OLD$$ /* NEW\n */", set()),
        ('"NEW" = 1 AND renewed AND new_one', set()),
    ],
)
def test_what_a_condition_speaks_of(condition: str, states: set[str]) -> None:
    assert states_named(condition) == states


def test_a_condition_applies_to_the_actions_it_fits() -> None:
    one = Wanted("public.t", ALL, when="NEW.a > 1")
    assert [action for action in Action if one.condition(action)] == [Action.INSERT, Action.UPDATE]
    each = Wanted("public.t", ALL, when={Action.DELETE: "OLD.a > 1"})
    assert [action for action in Action if each.condition(action)] == [Action.DELETE]


def test_function_names_are_readable_short_and_unique() -> None:
    assert function_name(table("public", "order_lines"), Action.INSERT) == "capture_public_order_lines_insert"
    tables = [table("a_b", "c"), table("a", "b_c"), table("a", "x" * 63), table("a", f"{'x' * 62}y"), table("A", "b")]
    tables += [table("a", "b"), table("é" * 31, "é" * 31), table("a", "b c"), table("a", "b.c")]
    names = {function_name(one, action) for one in tables for action in Action}
    assert len(names) == len(tables) * len(Action)
    assert all(len(name.encode()) <= 63 for name in names)


def test_settings_follow_the_types() -> None:
    assert pins([column("text", plain="text int4 date timestamp jsonb uuid numeric")]) == ()
    assert pins([column("timestamptz", plain="timestamptz")]) == (("TimeZone", "UTC"),)
    assert pins([column("daterange", ranged="date")]) == (("DateStyle", "ISO"),)
    assert len(pins([column("unknown", plain="unknown")])) == 6


def test_only_rows_that_can_grow_too_large_are_guarded() -> None:
    small = [column("int8", length=8), column("varchar", typmod=104), column("numeric")]
    assert not needs_guard(small, 1 << 20)
    assert needs_guard(small, 1 << 10)
    assert needs_guard([*small, column("text")], 1 << 20)
    assert needs_guard([column("varchar")], 1 << 20)
    assert "octet_length(NEW.a)" in size([column("text")], "NEW")
    assert "pg_column_size(NEW.a)" in size([column("jsonb")], "NEW")


def test_no_name_can_end_a_comment_of_the_script() -> None:
    script = Plan(
        "shop\nDROP TABLE a;", (Step("table x\nDROP TABLE b;", ("y\rDROP TABLE c;",), ("SELECT 1;\n",)),)
    ).sql()
    assert [line for line in script.splitlines() if "DROP" in line and not line.startswith("--")] == []
