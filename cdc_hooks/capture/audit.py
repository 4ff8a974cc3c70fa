"""Is everything captured that should be? For the daemon: its rights suffice, and nothing is changed.

The queries are CATALOG_QUERIES with ``parameters(tables)``; who runs them (an async connection, or ``audit`` here)
hands the rows to ``findings``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from cdc_hooks.capture.catalog import Catalog, Rows, nearest, read
from cdc_hooks.capture.compare import CaptureState, FunctionState, State, TriggerState, compare, unwanted_triggers
from cdc_hooks.capture.definition import Capture, captures
from cdc_hooks.capture.plan import look_at_tables
from cdc_hooks.capture.selection import check_fit
from cdc_hooks.capture.wanted import Wanted
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action


@dataclass(frozen=True)
class Finding:
    """Something about the capture of a table that is not as it should be."""

    table: str
    action: Action | None
    """None where it concerns the table as a whole."""
    state: State
    detail: str


def findings(wanted: Sequence[Wanted], rows: Mapping[str, Rows]) -> tuple[Finding, ...]:
    """What is wrong, from the rows of CATALOG_QUERIES (mappings by column name). Pure; empty where all is well."""
    return tuple(_findings(wanted, read(rows)))


def audit(conn: Connection[Any], wanted: Sequence[Wanted]) -> tuple[Finding, ...]:
    """``findings`` over a synchronous connection."""
    return tuple(_findings(wanted, look_at_tables(conn, [one.table for one in wanted])))


def _findings(wanted: Sequence[Wanted], catalog: Catalog) -> Iterator[Finding]:
    everything: list[Capture] = []
    hopeless = set()
    for one in wanted:
        table = catalog.tables.get(one.table)
        if table is None:
            hopeless.add(one.table)
            captured = {trigger.table_name for trigger in catalog.triggers}
            yield Finding(one.table, None, State.MISSING, f"there is no such table{nearest(one.table, captured)}")
            continue
        try:
            check_fit(one, table)
            states = compare(captures(one, table), table, catalog)
        except ConfigError as error:
            hopeless.add(one.table)
            yield Finding(one.table, None, State.OUTDATED, error.message)
            continue
        everything += [state.capture for state in states]
        for state in states:
            yield from _of_capture(one, state)
        for name in table.detached:
            yield Finding(
                one.table, None, State.DETACHED, f"{name} is no partition of it any more, and is not captured"
            )
    if not hopeless:
        for trigger in unwanted_triggers(everything, catalog):
            yield Finding(
                trigger.table_name, None, State.UNWANTED, f"trigger {trigger.name} captures what nobody asks for"
            )


def _of_capture(wanted: Wanted, state: CaptureState) -> Iterator[Finding]:
    parts: tuple[FunctionState | TriggerState, ...] = (state.function, *state.triggers)
    for part in parts:
        if part.state is not State.INSTALLED:
            yield Finding(wanted.table, state.capture.action, part.state, part.detail)
