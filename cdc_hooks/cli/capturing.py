"""``plan``, ``apply`` and ``remove``: from the configuration to what capture wants, and how its answers look."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks import capture
from cdc_hooks.assembly import wanted
from cdc_hooks.capture import Plan, Progress, Roles, Step
from cdc_hooks.cli.output import print_json
from cdc_hooks.config import warnings
from cdc_hooks.ops.status import gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from cdc_hooks.config import Config
    from cdc_hooks.ops.status import StatusReport


def roles(config: Config) -> Roles:
    """The daemon's role and the owner of the schema."""
    return Roles(daemon=config.database.role, owner=config.database.owner_role)


def plan(connection: psycopg.Connection[Any], config: Config) -> Plan:
    """What ``apply`` would do. Reads only."""
    _warn(config)
    return capture.plan(connection, wanted(config), roles(config))


def apply(connection: psycopg.Connection[Any], config: Config) -> None:
    """Do what ``plan`` says, and tell what is done."""
    _warn(config)
    done = capture.apply(connection, wanted(config), roles(config), on_step=_tell)
    _tell_notes(done)
    if not done:
        click.echo("Nothing to change: the database is as the configuration wants it.")


def remove(connection: psycopg.Connection[Any], config: Config, tables: Sequence[str] | None) -> None:
    """Remove captures (None: and all else), and tell what is done."""
    if not capture.remove(connection, tables, roles(config), on_step=_tell):
        click.echo("Nothing to remove.")


def report_of(connection: psycopg.Connection[Any], config: Config) -> StatusReport:
    """How the webhooks are, and what is wrong with the captures, a sentence each."""
    faults = [f"{finding.table}: {finding.detail}" for finding in capture.audit(connection, wanted(config))]
    return replace(gather(connection, config), captures=faults)


def show(planned: Plan, *, as_json: bool, as_sql: bool) -> None:
    """Print a plan."""
    if as_sql:
        click.echo(planned.sql(), nl=False)
    elif as_json:
        print_json(asdict(planned))
    else:
        _show_in_words(planned)


def _warn(config: Config) -> None:
    for warning in warnings(config):
        click.echo(f"warning: {warning}", err=True)


def _show_in_words(planned: Plan) -> None:
    for step in planned.steps:
        click.echo(f"{step.subject}:")
        for line in step.lines:
            click.echo(f"  {line}")
        for note in step.notes:
            click.echo(f"  note: {note}")
    _tell_notes(planned)
    if planned:
        count = len(planned.steps)
        click.echo(
            f"\n{count} transaction{'s' if count > 1 else ''} in database {planned.database}. "
            "To see the SQL: cdc-hooks plan --sql. To run it: cdc-hooks apply."
        )
    else:
        click.echo("Nothing to change: the database is as the configuration wants it.")


def _tell(step: Step, progress: Progress) -> None:
    if progress is Progress.WAITING:
        click.echo(f"{step.subject}: a lock is not free; trying again", err=True)
    elif progress is Progress.DONE:
        for line in step.lines:
            click.echo(f"done: {line}")
        for note in step.notes:
            click.echo(f"  note: {note}")


def _tell_notes(planned: Plan) -> None:
    for note in planned.notes:
        click.echo(f"note: {note}")
