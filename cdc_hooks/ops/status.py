"""What an operator wants to know, read from the database: it works while the daemon is down."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg

from cdc_hooks.config import Config
from cdc_hooks.sql import queries

_SQL = queries("status")


@dataclass(frozen=True)
class WebhookStatus:
    """One webhook. ``backlog`` is an upper bound: ids of all tables since its place in the log."""

    name: str
    state: str
    summary: str
    backlog: int
    lag_s: float
    delivered: int
    dead_letters: int
    gaps: int
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    next_attempt_at: datetime | None


@dataclass(frozen=True)
class StatusReport:
    """``daemon``: who leads, None if nobody does."""

    daemon: str | None
    daemon_since: datetime | None
    log_bytes: int
    captures: list[str] = field(default_factory=list)
    webhooks: list[WebhookStatus] = field(default_factory=list)


def gather(connection: psycopg.Connection[Any], config: Config) -> StatusReport:
    """The state of all webhooks, those first that the configuration names. Reads only."""
    connection.execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'")
    holder, since, leads, log_bytes = connection.execute(_SQL["daemon"]).fetchone() or (None, None, False, 0)
    rows = connection.execute(_SQL["webhooks"]).fetchall()
    known = {row[0]: _webhook(row, leads=leads, configured=row[0] in config.webhooks) for row in rows}
    webhooks = [known.pop(name, None) or _new(name) for name in config.webhooks]
    return StatusReport(
        daemon=holder if leads else None,
        daemon_since=since if leads else None,
        log_bytes=log_bytes,
        webhooks=[*webhooks, *(webhook for webhook in known.values() if webhook.state != "retired")],
    )


def _webhook(row: tuple[Any, ...], *, leads: bool, configured: bool) -> WebhookStatus:
    name, state, delivered, last_success_at, last_error_at, last_error, backlog, lag_s, dead, gaps, next_at, attempts = row
    return WebhookStatus(
        name=name,
        state=state,
        summary=_in_words(
            state, backlog, lag_s, dead, last_error, next_at, attempts, leads=leads, configured=configured
        ),
        backlog=backlog,
        lag_s=lag_s,
        delivered=delivered,
        dead_letters=dead,
        gaps=gaps,
        last_success_at=last_success_at,
        last_error_at=last_error_at,
        last_error=last_error,
        next_attempt_at=next_at,
    )


def _in_words(
    state: str,
    backlog: int,
    lag_s: float,
    dead: int,
    last_error: str | None,
    next_at: datetime | None,
    attempts: int | None,
    *,
    leads: bool,
    configured: bool,
) -> str:
    if not configured:
        return "no longer configured; its place in the log is given up when the daemon reloads"
    if not leads and backlog:
        what = f"no daemon runs; up to {backlog:,} changes wait"
    elif not leads:
        what = "no daemon runs; nothing waits"
    elif next_at is not None:
        times = "once" if attempts == 1 else f"{attempts} times"
        what = f"failing: {last_error}; tried {times}, next attempt at {next_at:%H:%M:%S} UTC; up to {backlog:,} changes wait"
    elif backlog:
        what = f"delivering: up to {backlog:,} changes wait, the oldest for {lag_s:.0f} s"
    else:
        what = "up to date"
    return f"{what}; {dead:,} dead letter{'s' if dead != 1 else ''}" if dead else what


def _new(name: str) -> WebhookStatus:
    return WebhookStatus(
        name, "new", "not started yet: its place in the log begins when the daemon first runs with it",
        0, 0.0, 0, 0, 0, None, None, None, None,
    )  # fmt: skip
