"""``check``: is the configuration right, and the database as the configuration wants it? Reads only."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks import capture, sql
from cdc_hooks.assembly import wanted
from cdc_hooks.capture import installation
from cdc_hooks.cli.capturing import roles
from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.file_modes import exposed
from cdc_hooks.cli.output import print_json, print_table
from cdc_hooks.cli.reaching import unreachable
from cdc_hooks.config import redacted, warnings
from cdc_hooks.config.redact import show_url
from cdc_hooks.errors import CdcHooksError
from cdc_hooks.model import Action

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    import psycopg

    from cdc_hooks.cli.reaching import Unreachable
    from cdc_hooks.config import Config

_SQL = sql.queries("check")
_APPLY = "look with cdc-hooks plan, then run cdc-hooks apply, as the owner of the tables"


_NAMED = 5


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


def checks(path: Path, config: Config) -> Iterator[Check]:
    """What there is to say, in the order in which one thing needs the other; ends where the rest cannot be known."""
    yield _configuration(config)
    for warning in warnings(config):
        yield Check(Level.WARNING, "configuration", warning, "take the entry out, or name the table at a webhook")
    yield from _files(path, config)
    away = unreachable(config)
    yield from _addresses(away)
    yield from _notices(config, {one.subject for one in away})
    try:
        with connected(config.database.dsn.get_secret_value()) as connection:
            yield Check(Level.OK, "connection", f"{connection.info.user} at database {connection.info.dbname}")
            yield from _database(connection, config)
    except CdcHooksError as error:
        yield Check(Level.ERROR, "database", error.message, error.hint)


def show(path: Path, config: Config, found: Sequence[Check], *, as_json: bool) -> int:
    """Print the checks; the exit status."""
    if as_json:
        print_json(
            {"file": str(path), "checks": [asdict(one) for one in found], "configuration": redacted(config)},
        )
    else:
        rows = [[one.level.value, one.subject, one.message] for one in found]
        print_table(["", "checked", "found"], rows, cut=["checked"], sentences=True)
        for hint in dict.fromkeys(one.hint for one in found if one.hint):
            click.echo(f"hint: {hint}")
    return 1 if any(one.level is Level.ERROR for one in found) else 0


def _configuration(config: Config) -> Check:
    tables = {table for webhook in config.webhooks.values() for table in webhook.tables}
    if not config.webhooks:
        return Check(Level.WARNING, "configuration", "no webhooks: nothing is delivered", "add one at webhooks")
    return Check(
        Level.OK, "configuration", f"{_count(len(config.webhooks), 'webhook')} for {_count(len(tables), 'table')}"
    )


def _files(path: Path, config: Config) -> Iterator[Check]:
    for one in exposed(path, config):
        holds = ", ".join(one.keys[:_NAMED]) + (f" and {len(one.keys) - _NAMED} more" if len(one.keys) > _NAMED else "")
        yield Check(
            Level.WARNING,
            str(one.path),
            f"everybody on this machine may {one.may} it, and it holds secrets: {holds}",
            f"run: chmod o= {shlex.quote(str(one.path))} (the daemon's user must own it, or be in its group); or give "
            "secrets as ${VARIABLES} or in files of their own",
        )


def _notices(config: Config, away: Collection[str]) -> Iterator[Check]:
    """What ``notify`` has, where nothing is wrong with it as far as this goes."""
    webhook, email = config.notify.webhook, config.notify.email
    try_it = "to try it: cdc-hooks notify test"
    if webhook is not None and "notify.webhook" not in away:
        yield Check(Level.OK, "notify.webhook", f"events go to {show_url(webhook.url)}; {try_it}")
    if email is not None and "notify.email" not in away:
        whom = ", ".join(email.to)
        yield Check(Level.OK, "notify.email", f"mail to {whom} goes by {email.host}:{email.usual_port}; {try_it}")


def _addresses(away: Sequence[Unreachable]) -> Iterator[Check]:
    for one in away:
        if one.refused:
            allow = f'network: {{allow: ["{one.host}"]}}'
            hint = f"if it is meant, write {allow} (cdc-hooks' own port is refused in any case); see docs/security.md"
            yield Check(Level.ERROR, one.subject, f"requests will be refused: {one.why}", hint)
        else:
            hint = (
                "look at how its host is written, and at this machine's resolver; it is looked up for each connection"
            )
            yield Check(Level.WARNING, one.subject, one.why, hint)


def _database(connection: psycopg.Connection[Any], config: Config) -> Iterator[Check]:
    edition = installation.packaged()
    there = installation.look(connection, roles(config), edition)  # refuses servers that are too old, or read-only
    yield Check(Level.OK, "server", f"PostgreSQL {there.server_version // 10000}, writable")
    yield _doorbell(connection)
    yield _schema(there.version, edition.version)
    if there.version == edition.version:
        yield _rights(there)
    yield from _captures(connection, config)


def _doorbell(connection: psycopg.Connection[Any]) -> Check:
    ((possible,),) = connection.execute(_SQL["prepared_transactions"].encode()).fetchall()
    if possible:
        return Check(
            Level.WARNING,
            "doorbell",
            f"max_prepared_transactions is {possible}: nothing rings, the daemon polls",
            "set max_prepared_transactions to 0, if no application prepares transactions, for faster delivery",
        )
    return Check(Level.OK, "doorbell", "rings when a change is committed")


def _schema(version: int | None, ours: int) -> Check:
    if version == ours:
        return Check(Level.OK, "schema", f"cdc_hooks is there, version {ours}")
    if version is None:
        return Check(Level.ERROR, "schema", "the schema cdc_hooks is not in this database", _APPLY)
    what = f"the schema cdc_hooks has version {version}, this program needs {ours}"
    return Check(Level.ERROR, "schema", what, _APPLY if version < ours else "upgrade cdc-hooks on this machine")


def _rights(there: installation.Installation) -> Check:
    if there.missing_grants:
        return Check(Level.ERROR, "rights", f"{there.user} lacks {', '.join(there.missing_grants)}", _APPLY)
    return Check(Level.OK, "rights", f"{there.user} has what the daemon needs")


def _captures(connection: psycopg.Connection[Any], config: Config) -> Iterator[Check]:
    asked = wanted(config)
    found = capture.audit(connection, asked)
    for finding in found:
        subject = f"{finding.table} {finding.action}" if finding.action else finding.table
        harmless = finding.state in {capture.State.UNWANTED, capture.State.DETACHED}
        yield Check(Level.WARNING if harmless else Level.ERROR, subject, finding.detail, _APPLY)
    wrong = {finding.table for finding in found}
    for one in asked:
        if one.table not in wrong:
            yield Check(
                Level.OK, one.table, "captured: " + ", ".join(action for action in Action if action in one.actions)
            )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
