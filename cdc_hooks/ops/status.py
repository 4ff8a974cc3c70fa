"""What an operator wants to know, read from the database: it works while the daemon is down."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import psycopg
from psycopg.rows import class_row

from cdc_hooks.config import Config
from cdc_hooks.ops.statistics import Sums, total
from cdc_hooks.sql import queries

_SQL = queries("status")


@dataclass(frozen=True)
class Statistics:
    """Of one webhook over some time. ``success_rate`` is of attempts, from 0 to 1; latency is that of attempts, too."""

    deliveries: int
    success_rate: float | None
    mean_s: float | None
    p95_s: float | None
    longest_s: float | None

    @classmethod
    def of(cls, sums: Sums) -> Self:
        return cls(
            sums.deliveries,
            sums.success_rate,
            sums.mean_s,
            sums.quantile_s(0.95),
            sums.longest if sums.attempts else None,
        )


@dataclass(frozen=True)
class WebhookStatus:
    """One webhook. ``backlog`` is an upper bound: ids of all tables since its place in the log.

    ``held``: deliveries that wait for a dead letter of their rows.
    """

    name: str
    state: str
    summary: str
    backlog: int
    lag_s: float
    delivered: int
    dead_letters: int
    held: int
    gaps: int
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    next_attempt_at: datetime | None
    statistics: dict[str, Statistics] = field(default_factory=dict)
    """Over the last ``hour``, ``day`` and ``month`` (of 30 days), each to the full hour before."""


@dataclass(frozen=True)
class StatusReport:
    """``daemon``: who leads, None if nobody does."""

    daemon: str | None
    daemon_since: datetime | None
    log_bytes: int
    captures: list[str] = field(default_factory=list)
    webhooks: list[WebhookStatus] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    """What the query ``webhooks`` returns of one."""

    name: str
    state: str
    delivered: int
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    backlog: int
    lag_s: float
    dead_letters: int
    held: int
    gaps: int
    paused_at: datetime | None
    paused_why: str | None
    next_attempt_at: datetime | None
    attempts: int | None
    failing_for: str | None


def gather(connection: psycopg.Connection[Any], config: Config) -> StatusReport:
    """The state of all webhooks, those first that the configuration names. Reads only."""
    connection.execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'")
    holder, since, leads, log_bytes = connection.execute(_SQL["daemon"]).fetchone() or (None, None, False, 0)
    with connection.cursor(row_factory=class_row(_Row)) as cursor:
        rows = {row.name: row for row in cursor.execute(_SQL["webhooks"].encode())}
    statistics = _statistics(connection)
    others = [row for name, row in rows.items() if name not in config.webhooks and row.state != "retired"]
    return StatusReport(
        daemon=holder if leads else None,
        daemon_since=since if leads else None,
        log_bytes=log_bytes,
        webhooks=[
            *(
                _webhook(rows[name], statistics.get(name, {}), leads=leads) if name in rows else _new(name)
                for name in config.webhooks
            ),
            *(_webhook(row, statistics.get(row.name, {}), leads=leads, configured=False) for row in others),
        ],
    )


def _statistics(connection: psycopg.Connection[Any]) -> dict[str, dict[str, Statistics]]:
    """By webhook and span of time."""
    hours: dict[str, dict[str, list[Sums]]] = {}
    for name, span, *sums in connection.execute(_SQL["hours"].encode()):
        hours.setdefault(name, {}).setdefault(span, []).append(Sums(*sums))
    return {name: {span: Statistics.of(total(sums)) for span, sums in spans.items()} for name, spans in hours.items()}


def _webhook(row: _Row, statistics: dict[str, Statistics], *, leads: bool, configured: bool = True) -> WebhookStatus:
    return WebhookStatus(
        name=row.name,
        state=row.state,
        summary=_in_words(row, leads=leads) if configured else _NOT_CONFIGURED,
        backlog=row.backlog,
        lag_s=row.lag_s,
        delivered=row.delivered,
        dead_letters=row.dead_letters,
        held=row.held,
        gaps=row.gaps,
        last_success_at=row.last_success_at,
        last_error_at=row.last_error_at,
        last_error=row.last_error,
        next_attempt_at=None if row.state in {"open", "paused"} else row.next_attempt_at,
        statistics=statistics,
    )


_NOT_CONFIGURED = "no longer configured; its place in the log is given up when the daemon reloads"


def _in_words(row: _Row, *, leads: bool) -> str:
    waiting = f"up to {row.backlog:,} change{_s(row.backlog)} wait{'' if row.backlog != 1 else 's'}"
    if row.state == "retired":
        what = "retired while it was not configured; goes on from its place when a daemon runs or reloads with it"
    elif row.paused_why is not None:
        since = f"since {row.paused_at:%Y-%m-%d %H:%M} UTC"
        what = f"paused {since}: {row.paused_why}; {waiting}; when it is mended, run: cdc-hooks resume {row.name}"
    elif not leads:
        what = f"no daemon runs; {waiting if row.backlog else 'nothing waits'}"
    elif row.state == "open":
        why = row.failing_for or row.last_error
        what = (
            f"its endpoint is sick: {why}; all is held back, its place is kept, and one request tries now and then; "
            f"{waiting}; to try now: cdc-hooks resume {row.name}"
        )
    elif row.next_attempt_at is not None:
        times = "once" if row.attempts == 1 else f"{row.attempts} times"
        next_at = f"next attempt at {row.next_attempt_at:%H:%M:%S} UTC"
        what = f"failing: {row.failing_for}; tried {times}, {next_at}; {waiting}"
    elif row.backlog:
        what = f"delivering: {waiting}, the oldest for {row.lag_s:.0f} s"
    else:
        what = "up to date"
    if row.dead_letters:
        what += f"; {row.dead_letters:,} dead letter{_s(row.dead_letters)}"
    if row.held:
        what += f"; {_held(row)}"
    if row.gaps:
        what += f"; {row.gaps:,} gap{_s(row.gaps)}: changes that it may not have got"
    return what


def _held(row: _Row) -> str:
    waits = f"{row.held:,} held deliver{'y waits' if row.held == 1 else 'ies wait'}"
    if row.dead_letters:
        return f"{waits} for {'it' if row.dead_letters == 1 else 'them'}"
    return f"{waits} for nothing any more: cdc-hooks deliveries resend --webhook {row.name} --state held"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _new(name: str) -> WebhookStatus:
    return WebhookStatus(
        name=name,
        state="new",
        summary="not started yet: its place in the log begins when a daemon first runs with it",
        backlog=0,
        lag_s=0.0,
        delivered=0,
        dead_letters=0,
        held=0,
        gaps=0,
        last_success_at=None,
        last_error_at=None,
        last_error=None,
        next_attempt_at=None,
    )
