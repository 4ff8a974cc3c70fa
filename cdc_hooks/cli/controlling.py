"""``pause`` and ``resume``: said in the database, heeded by the daemon that leads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cdc_hooks import sql
from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.delivery_options import time_of
from cdc_hooks.config.choosing import webhook_of
from cdc_hooks.deliver.faults import plain
from cdc_hooks.errors import ConfigError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

    from cdc_hooks.config import Config

_SQL = sql.queries("control")
EVENT = re.compile(r"(\d{1,10})-(\d{1,18})", re.ASCII)
"""``EPOCH-ID``, as bodies and the ledger have it."""


def pause(config: Config, webhook: str, reason: str) -> None:
    """Raises CdcHooksError where there is no such webhook."""
    _say(config, webhook, "pause", why=plain(" ".join(reason.split())) or "by an operator")
    click.echo(f"{webhook} is paused; its place is kept. To go on: cdc-hooks resume {webhook}")


class Place(NamedTuple):
    """Where a webhook goes on: ``now`` or a tick, None for where it is; and that in words."""

    to: str | None = None
    words: str = ""


def place_of(config: Config, begin: str) -> Place:
    """``begin``: ``now``, a time, or the id of an event. Raises CdcHooksError."""
    return Place("now", " from now on") if begin == "now" else _tick(config, begin)


def resume(config: Config, webhook: str, place: Place) -> None:
    """Raises CdcHooksError, also where there is no such webhook."""
    _say(config, webhook, "resume", to=place.to)
    click.echo(f"{webhook} goes on{place.words}, where a daemon runs; see: cdc-hooks status")


def event_id(option: str, text: str, epochs: Iterable[tuple[int, int, int]]) -> int:
    """The id of an event of one of these epochs, each with its first and last id. Raises ConfigError."""
    found = EVENT.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"{option}: {text!r} is no event", hint="write it as bodies have it: EPOCH-ID, such as 1-4711"
        )
    known = {epoch: (max(first, 1), last) for epoch, first, last in epochs}
    epoch, number = int(found[1]), int(found[2])
    first, last = known.get(epoch, (1, 0))
    if not first <= number <= last:
        are = ", ".join(f"{one}-{first} to {one}-{last}" for one, (first, last) in known.items())
        raise ConfigError(
            f"{option}: there is no event {text} in this database",
            hint=f"its events are {are}" if are else "no daemon has run on it yet",
        )
    return number


def _tick(config: Config, begin: str) -> Place:
    now = datetime.now(UTC)
    with connected(config.database.dsn.get_secret_value()) as connection:
        if EVENT.fullmatch(begin):
            change_id = event_id("--from", begin, _run(connection, "epochs"))
            row = _run(connection, "tick_before", change_id=change_id).fetchone()
        elif (at := time_of("--from", begin, now)) > now:
            raise ConfigError(f"--from: {begin} is in the future", hint="give a time that is over, an event, or now")
        else:
            row = _run(connection, "tick_at", at=at).fetchone()
        if row is None:
            oldest = _run(connection, "oldest_tick").fetchone()
            since = f", which begins at {oldest[1].astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if oldest else ""
            raise ConfigError(
                f"--from: {begin} is before all that is known{since}",
                hint="go on from a later time or event, or from now",
            )
    tick, at = row
    return Place(str(tick), f" from what was committed after {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")


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
