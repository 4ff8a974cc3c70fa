"""What a DBA should know about the capture of a table before it is applied. Pure."""

from __future__ import annotations

from cdc_hooks.capture.catalog import Table
from cdc_hooks.capture.selection import key_columns, left_out
from cdc_hooks.capture.wanted import Wanted
from cdc_hooks.model import Action


def notes(wanted: Wanted, table: Table) -> tuple[str, ...]:
    """One sentence each."""
    return (*_columns(wanted, table), *_conditions(wanted), *_hierarchy(wanted, table), *_level(wanted))


def _columns(wanted: Wanted, table: Table) -> list[str]:
    said = [
        f"virtual generated column {column.name} is left out: it has no value in a trigger"
        for column in left_out(wanted, table)
    ]
    if not key_columns(wanted, table):
        said.append("no primary key: rowId will be 0")
    if wanted.columns is None and (wanted.exclude or any(column.virtual for column in table.columns)):
        said.append("columns that are added later are not captured before the next apply")
    return said


def _conditions(wanted: Wanted) -> list[str]:
    return [
        f"the condition does not fit {action} (it names a state of the row that a {action} does not have): "
        f"every {action} is captured"
        for action in Action
        if action in wanted.actions and not wanted.condition_fits(action)
    ]


def _hierarchy(wanted: Wanted, table: Table) -> list[str]:
    said = []
    if (
        table.relation.kind == "p"
        and Action.UPDATE in wanted.actions
        and not wanted.actions >= {Action.INSERT, Action.DELETE}
    ):
        said.append(
            "an update that moves a row to another partition is a delete and an insert: capture those actions as well"
        )
    if Action.TRUNCATE in wanted.actions and table.members:
        said.append("TRUNCATE of a single partition or child is not captured, only that of the whole table")
    if table.children:
        said.append(f"captures its inheritance children too: {', '.join(child.sql_name for child in table.children)}")
    return said


def _level(wanted: Wanted) -> list[str]:
    if wanted.level == "row":
        return []
    return [
        "level: statement logs rows when a statement ends: where your triggers write to the same rows, order is lost"
    ]
