"""What an operator sees and does of single deliveries, in the database: it works while the daemon is down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from cdc_hooks.sql import queries

SQL = queries("ledger")
STATES = ("pending", "split", "held", "rejected", "dead", "delivered", "resent", "failed", "dropped")
LETTERS = ("held", "rejected", "dead")
"""Set aside, and kept until somebody resends or deletes them."""
SORTS: Mapping[str, str] = {
    "number": "number",
    "time": "last_attempt_at",
    "duration": "duration_s",
    "attempts": "attempts",
    "events": "event_count",
    "status": "last_status",
}


@dataclass(frozen=True)
class Filter:
    """Which deliveries: those for which all holds that is not None."""

    numbers: list[int] | None = None
    message_ids: list[str] | None = None
    """Beside ``numbers``: what has one of these ids is meant, too."""
    after: int | None = None
    """With a higher number."""
    webhook: str | None = None
    states: list[str] | None = None
    since: datetime | None = None
    """By the time of the last attempt."""
    until: datetime | None = None
    table: str | None = None
    row: list[str] | None = None
    """The JSON that the key of a row may be, if it has one column …"""
    row_names: list[str] | None = None
    """… or the columns that it has, each as often as there are ways …"""
    row_values: list[str] | None = None
    """… to write its value in JSON."""
    status_from: int | None = None
    status_to: int | None = None


@dataclass(frozen=True)
class Found:
    """One delivery, without bodies and answers."""

    number: int
    open: bool
    """Whether it is not finished with."""
    webhook: str
    state: str
    kind: str
    message_id: str
    part_of: str | None
    resend_of: int | None
    table_name: str
    action: str
    row_ids: str
    event_count: int
    first_event: str
    last_event: str
    attempts: int
    first_attempt_at: datetime
    last_attempt_at: datetime
    next_attempt_at: datetime | None
    duration_s: float | None
    last_status: int | None
    last_error: str | None
    has_body: bool


@dataclass(frozen=True)
class Details:
    """What else is known of one."""

    url: str | None
    secrets: str | None
    fields: str | None
    headers: str | None
    response_headers: str | None
    response_body: bytes | None
    body: bytes | None
    paused_why: str | None
    retired: bool


@dataclass(frozen=True)
class PastAttempt:
    """An attempt that failed."""

    attempt: int
    at: datetime
    by_hand: bool
    duration_s: float | None
    status: int | None
    error_class: str | None
    error: str | None
    request_headers: str | None
    response_headers: str | None
    response_body: bytes | None


@dataclass(frozen=True)
class Related:
    """A part of a delivery, or a resend of it."""

    number: int
    state: str
    is_resend: bool
    last_attempt_at: datetime


def settle(connection: psycopg.Connection[Any]) -> None:
    """So that times come in UTC."""
    connection.execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'")


def find(
    connection: psycopg.Connection[Any],
    wanted: Filter,
    *,
    limit: int | None = None,
    sort: str = "number",
    ascending: bool = False,
) -> list[Found]:
    """The newest first, unless told otherwise (``sort``: a key of SORTS)."""
    with connection.cursor(row_factory=class_row(Found)) as cursor:
        query = with_filter("find", sort, ascending=ascending)
        return cursor.execute(query, {**asdict(wanted), "limit": limit}).fetchall()


def count(connection: psycopg.Connection[Any], wanted: Filter) -> dict[str, int]:
    """How many there are, by state."""
    return dict(connection.execute(with_filter("count"), asdict(wanted)).fetchall())


def delete(connection: psycopg.Connection[Any], numbers: list[int]) -> set[int]:
    """Delete deliveries, and what is recorded of their attempts. Returns the numbers of those that are gone: what waits
    stays, unless its webhook is no longer configured.
    """
    with connection.transaction():
        parameters = {"numbers": numbers, "waiting_too": False}
        gone = {number for (number,) in connection.execute(SQL["close_letters"].encode(), parameters)}
        gone |= {number for (number,) in connection.execute(SQL["delete_finished"].encode(), parameters)}
        connection.execute(SQL["delete_attempts"].encode(), {"numbers": list(gone)})
    return gone


def with_filter(query: str, sort: str = "number", *, ascending: bool = False) -> sql.Composed:
    """A query of ``ledger.sql`` that begins with ``find``'s FROM, made whole."""
    direction = sql.SQL("") if ascending else sql.SQL(" DESC NULLS LAST" if sort != "number" else " DESC")
    order = sql.Identifier("d", SORTS[sort]) + direction
    if sort != "number":
        order += sql.SQL(", ") + sql.Identifier("d", "number") + direction
    return sql.SQL(SQL[query]).format(filter=sql.SQL(SQL["filter"]), order=order)


def details(connection: psycopg.Connection[Any], one: Found) -> Details | None:
    """None: it has gone meanwhile."""
    with connection.cursor(row_factory=class_row(Details)) as cursor:
        return cursor.execute(SQL["details"].encode(), {"number": one.number, "open": one.open}).fetchone()


def attempts(connection: psycopg.Connection[Any], one: Found) -> list[PastAttempt]:
    """Those that failed, in order, as far as they are still there."""
    with connection.cursor(row_factory=class_row(PastAttempt)) as cursor:
        return cursor.execute(SQL["attempts"].encode(), {"number": one.number}).fetchall()


def attempts_of(connection: psycopg.Connection[Any], numbers: list[int]) -> dict[int, list[PastAttempt]]:
    """The same of many, by number."""
    found: dict[int, list[PastAttempt]] = {}
    for number, *attempt in connection.execute(SQL["attempts_of"].encode(), {"numbers": numbers}):
        found.setdefault(number, []).append(PastAttempt(*attempt))
    return found


def related(connection: psycopg.Connection[Any], one: Found) -> list[Related]:
    """Its parts and its resends, the first of them."""
    with connection.cursor(row_factory=class_row(Related)) as cursor:
        parameters = {"number": one.number, "message_id": one.message_id}
        return cursor.execute(SQL["related"].encode(), parameters).fetchall()


def webhook_names(connection: psycopg.Connection[Any]) -> list[str]:
    """All that there have ever been."""
    return [name for (name,) in connection.execute(SQL["webhook_names"].encode())]
