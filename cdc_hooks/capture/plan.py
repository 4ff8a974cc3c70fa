"""What has to be done so that the database captures what is wanted, and nothing else. Reads only.

A table's functions and triggers are one transaction. Where only a function's body changes, its trigger and thereby the
table's locks are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, errors
from psycopg.rows import dict_row

from cdc_hooks import sql
from cdc_hooks.capture import installation
from cdc_hooks.capture.catalog import CATALOG_QUERIES, Catalog, InstalledTrigger, Table, parameters, read
from cdc_hooks.capture.compare import CaptureState, State, compare, unwanted_functions, unwanted_triggers
from cdc_hooks.capture.conditions import check_conditions
from cdc_hooks.capture.definition import captures, enable_sql, quoted, template
from cdc_hooks.capture.notes import notes
from cdc_hooks.capture.selection import check_names
from cdc_hooks.capture.steps import Plan, Step
from cdc_hooks.capture.wanted import Roles, Wanted
from cdc_hooks.errors import ConfigError, DatabaseError


def plan(
    conn: Connection[Any], wanted: Sequence[Wanted], roles: Roles, *, edition: installation.Edition | None = None
) -> Plan:
    """The steps from what is there to what is wanted.

    Raises ConfigError where what is wanted cannot be (no such table or column, a broken condition, …), DatabaseError
    where this role or server cannot do it. ``conn`` should be in autocommit mode.
    """
    edition = edition or installation.packaged()
    there = installation.look(conn, roles, edition)
    catalog = look_at_tables(conn, [one.table for one in wanted])
    check_names(wanted, catalog, all_tables(conn))
    states = {
        one.table: compare(captures(one, catalog.tables[one.table]), catalog.tables[one.table], catalog)
        for one in wanted
    }
    for one in wanted:
        _check_owner(catalog.tables[one.table], there)
        _check_foreign(states[one.table])
        check_conditions(conn, one, catalog.tables[one.table], states[one.table])
    everything = [state.capture for table_states in states.values() for state in table_states]
    return Plan(
        database=there.database,
        steps=(
            *installation.steps(there, roles, edition),
            *(
                step
                for one in wanted
                if (step := _table_step(one, catalog.tables[one.table], states[one.table], roles))
            ),
            *_forget_steps(wanted, catalog, states),
            *removal_steps(list(unwanted_triggers(everything, catalog)), unwanted_functions(everything, catalog)),
        ),
        notes=tuple(
            f"{one.table}: {note}"
            for one in wanted
            if all(_is_installed(state) for state in states[one.table])
            for note in notes(one, catalog.tables[one.table])
        ),
    )


def look_at_tables(conn: Connection[Any], tables: Sequence[str]) -> Catalog:
    """The catalog, as far as it concerns these tables. ConfigError where one is not a name."""
    try:
        with conn.cursor(row_factory=dict_row) as cursor:
            return read(
                {
                    name: cursor.execute(query.encode(), parameters(tables)).fetchall()
                    for name, query in CATALOG_QUERIES.items()
                }
            )
    except errors.InvalidParameterValue as error:
        raise ConfigError(
            f"not the name of a table: {error.diag.message_primary}",
            hint='names are written as in SQL: public.orders, public."Order Items"',
        ) from error


@dataclass(frozen=True)
class _Changes:
    """What one capture needs: lines that say so, SQL for the owner's part (the function), SQL for the table's."""

    lines: tuple[str, ...]
    function_sql: str
    trigger_sql: str


def removal_steps(triggers: Sequence[InstalledTrigger], functions: Sequence[str]) -> Iterator[Step]:
    """To drop triggers, a transaction for each table, and then the functions that nothing calls any more."""
    for table in sorted({trigger.table_name for trigger in triggers}):
        on_table = [trigger for trigger in triggers if trigger.table_name == table]
        if not on_table[0].owned:
            raise DatabaseError(
                f"table {table} belongs to {on_table[0].owner}: only its owner can remove its triggers",
                hint=f"connect as a member of {on_table[0].owner}",
            )
        yield Step(
            f"table {table}",
            tuple(f"remove capture of {table} {_action_of(trigger)}" for trigger in on_table),
            tuple(template("drop_trigger", trigger=quoted(trigger.name), table=table) for trigger in on_table),
        )
    if functions:
        yield Step(
            "unused functions",
            tuple(f"drop function cdc_hooks.{name}" for name in functions),
            tuple(template("drop_function", function=quoted(name)) for name in functions),
        )


def _table_step(wanted: Wanted, table: Table, states: Sequence[CaptureState], roles: Roles) -> Step | None:
    changes = [change for state in states if (change := _changes(wanted, state))]
    if not changes:
        return None
    functions = "".join(change.function_sql for change in changes)
    return Step(
        f"table {table.sql_name}",
        tuple(line for change in changes for line in change.lines),
        (
            *((installation.as_owner(roles), functions, template("become_self")) if functions else ()),
            *(change.trigger_sql for change in changes if change.trigger_sql),
        ),
        notes(wanted, table),
    )


def _changes(wanted: Wanted, state: CaptureState) -> _Changes | None:
    if _is_installed(state):
        return None
    function, what = state.function, f"capture of {wanted.table} {state.capture.action}"
    old = [trigger for trigger in state.triggers if trigger.state is not State.MISSING]
    lines = []
    if len(old) < len(state.triggers):
        on = [t.trigger.relation.sql_name for t in state.triggers if t.state is State.MISSING]
        lines.append(f"create {what}" + (f" (trigger on {', '.join(on)})" if old or len(on) > 1 else ""))
    elif function.state is not State.INSTALLED:
        lines.append(f"replace {what}: {function.detail}")
    lines += [f"replace {what}: {trigger.detail}" for trigger in old if trigger.state is State.OUTDATED]
    lines += [f"enable {what}: {trigger.detail}" for trigger in old if trigger.state is State.DISABLED]
    return _Changes(
        tuple(lines),
        function.function.sql if function.state is not State.INSTALLED else "",
        "".join(
            "".join(enable_sql(table, t.trigger.name) for table in t.disabled_on)
            if t.state is State.DISABLED
            else t.trigger.sql
            for t in state.triggers
            if t.state is not State.INSTALLED
        ),
    )


def _forget_steps(
    wanted: Sequence[Wanted], catalog: Catalog, states: dict[str, tuple[CaptureState, ...]]
) -> Iterator[Step]:
    """The comments of the triggers remember the partitions: without those that are none any more, nobody asks again."""
    for one in wanted:
        table = catalog.tables[one.table]
        if table.detached:
            yield Step(
                f"table {table.sql_name}",
                tuple(
                    f"note that {name} is no partition of {one.table} any more, and is not captured"
                    for name in table.detached
                ),
                tuple(
                    trigger.trigger.comment_sql
                    for state in states[one.table]
                    for trigger in state.triggers
                    if trigger.trigger.relation is table.relation
                ),
            )


def _is_installed(state: CaptureState) -> bool:
    return state.function.state is State.INSTALLED and all(t.state is State.INSTALLED for t in state.triggers)


def _action_of(trigger: InstalledTrigger) -> str:
    return trigger.name.removeprefix("00_cdc_hooks_")


def _check_owner(table: Table, there: installation.Installation) -> None:
    for relation in (table.relation, *table.members):
        if not relation.owned:
            raise DatabaseError(
                f"table {relation.sql_name} belongs to {relation.owner}, and {there.user} is no member of that role",
                hint=f"as a superuser, run: GRANT {quoted(relation.owner)} TO {quoted(there.user)};",
            )


def _check_foreign(states: Sequence[CaptureState]) -> None:
    for state in states:
        for trigger in state.triggers:
            if trigger.state is State.FOREIGN:
                raise DatabaseError(trigger.detail, hint="drop or rename it, and apply again")


def all_tables(conn: Connection[Any]) -> list[str]:
    """SQL names of the tables that could be captured: for the nearest one where a name is wrong."""
    return [row[0] for row in conn.execute(sql.queries("capture")["all_tables"].encode())]
