"""``pause`` and ``resume``: said in the database, heeded by the daemon that leads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks import sql
from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.delivery_options import time_of
from cdc_hooks.config.choosing import webhook_of
from cdc_hooks.deliver.faults import plain
from cdc_hooks.errors import ConfigError, DatabaseError

if TYPE_CHECKING:
    import psycopg

    from cdc_hooks.config import Config

_SQL = sql.queries("control")
EVENT = re.compile(r"\d{1,10}-(\d{1,18})")
"""``EPOCH-ID``, as bodies and the ledger have it."""


def pause(config: Config, webhook: str, reason: str) -> None:
    """Raises CdcHooksError where there is no such webhook."""
    _say(config, webhook, "pause", why=plain(" ".join(reason.split())) or "by an operator")
    click.echo(f"{webhook} is paused; its place is kept. To go on: cdc-hooks resume {webhook}")


def resume(config: Config, webhook: str, begin: str | None = None) -> None:
    """``begin``: ``now``, a time, or the id of an event. Raises CdcHooksError, also where there is no such webhook."""
    to, place = None, ""
    if begin is not None:
        to, place = ("now", " from now on") if begin == "now" else _tick(config, begin)
    _say(config, webhook, "resume", to=to)
    click.echo(f"{webhook} goes on{place}, where a daemon runs; see: cdc-hooks status")


def _tick(config: Config, begin: str) -> tuple[str, str]:
    """A place in the log to go on from, and how to call it."""
    event = EVENT.fullmatch(begin)
    query, known = (
        ("tick_before", {"change_id": int(event[1])})
        if event
        else ("tick_at", {"at": time_of(begin, datetime.now(UTC))})
    )
    with connected(config.database.dsn.get_secret_value()) as connection:
        row = _run(connection, query, **known).fetchone()
    if row is None:
        raise ConfigError(f"{begin} is before all that is known", hint="go on from a later time or event, or from now")
    tick, at = row
    return str(tick), f" from what was committed after {at:%Y-%m-%d %H:%M:%S %Z}"


def _say(config: Config, webhook: str, query: str, **parameters: Any) -> None:
    webhook_of(config, webhook)
    with connected(config.database.dsn.get_secret_value()) as connection, connection.transaction():
        if not _run(connection, query, name=webhook, **parameters).rowcount:
            raise DatabaseError(
                f"no daemon has served {webhook} yet: there is nothing to {query}",
                hint="start the daemon, or have it reload its configuration: systemctl reload cdc-hooks",
            )
        _run(connection, "tell")


def _run(connection: psycopg.Connection[Any], query: str, **parameters: Any) -> psycopg.Cursor[Any]:
    return connection.execute(_SQL[query].encode(), parameters)
