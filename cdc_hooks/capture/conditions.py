"""Conditions (``when``) are tried before anything is changed: on a temporary copy of the table, rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import Connection

from cdc_hooks.capture.catalog import Table
from cdc_hooks.capture.compare import CaptureState, State
from cdc_hooks.capture.definition import template
from cdc_hooks.capture.wanted import Wanted
from cdc_hooks.errors import ConfigError


def check_conditions(conn: Connection[Any], wanted: Wanted, table: Table, states: Sequence[CaptureState]) -> None:
    """Raises ConfigError for a condition that the server does not accept. Those of installed triggers are right."""
    for state in states:
        condition = wanted.condition(state.capture.action)
        if condition and any(trigger.state is not State.INSTALLED for trigger in state.triggers):
            _try(conn, wanted, table, state.capture.action.upper(), condition)


def _try(conn: Connection[Any], wanted: Wanted, table: Table, event: str, condition: str) -> None:
    trial = template("condition", event=event, table=table.sql_name, condition=condition)
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(trial.encode())
    except psycopg.errors.InsufficientPrivilege:
        return  # No temporary tables for us: the condition is then tried when its trigger is made.
    except psycopg.Error as error:
        raise ConfigError(
            f"table {wanted.table}: the condition for {event.lower()} does not work: {error.diag.message_primary}\n"
            f"  when: {condition}",
            hint="write an SQL condition over NEW (insert, update) and OLD (update, delete), without subqueries; "
            "or one for each action: when: {update: ..., delete: ...}",
        ) from error
