"""``check``: is the configuration right, and the database as the configuration wants it? Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks import sql
from cdc_hooks.cli import capturing
from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.output import print_json, print_table
from cdc_hooks.config import redacted
from cdc_hooks.errors import CdcHooksError

if TYPE_CHECKING:
    from pathlib import Path

    import psycopg

    from cdc_hooks.config import Config

_SQL = sql.queries("check")


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``hint`` says what to do where it is not ok."""

    level: Level
    subject: str
    message: str
    hint: str | None = None


def checks(config: Config) -> Iterator[Check]:
    """What there is to say, in the order in which one thing needs the other; ends where the rest cannot be known."""
    yield _configuration(config)
    try:
        with connected(config.database.dsn.get_secret_value()) as connection:
            yield Check(Level.OK, "connection", f"connects as {connection.info.user} to {connection.info.dbname}")
            yield from _database(connection, config)
    except CdcHooksError as error:
        yield Check(Level.ERROR, "database", error.message, error.hint)


def _configuration(config: Config) -> Check:
    webhooks, tables = len(config.webhooks), len({table for one in config.webhooks.values() for table in one.tables})
    if not webhooks:
        return Check(Level.WARNING, "configuration", "no webhooks: nothing is delivered", "add one at webhooks")
    return Check(Level.OK, "configuration", f"{_count(webhooks, 'webhook')} for {_count(tables, 'table')}")


def _database(connection: psycopg.Connection[Any], config: Config) -> Iterator[Check]:
    yield from capturing.checks(connection, config)
    ((possible,),) = connection.execute(_SQL["prepared_transactions"].encode()).fetchall()
    if possible:
        yield Check(
            Level.WARNING,
            "doorbell",
            f"max_prepared_transactions is {possible}: nothing rings, the daemon polls, which costs some milliseconds",
            "set it to 0 if no application prepares transactions",
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def show(path: Path, config: Config, found: Iterator[Check], *, as_json: bool) -> int:
    """Print the checks as they come; the exit status."""
    told = list(found)
    if as_json:
        print_json({"file": path, "checks": [asdict(one) for one in told], "configuration": redacted(config)})
    else:
        print_table(["", "", ""], [[one.level.value, one.subject, one.message] for one in told])
        for one in told:
            if one.hint:
                click.echo(f"hint: {one.subject}: {one.hint}")
    return 1 if any(one.level is Level.ERROR for one in told) else 0
