"""``deliveries``: what was sent, what waits, what was given up on; and an operator's hands on it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.delivery_options import filter_of, filter_options, known_webhook, must_be_there
from cdc_hooks.cli.program import Session, config_option, json_option
from cdc_hooks.errors import ConfigError
from cdc_hooks.ops import deliveries as ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from cdc_hooks.ops.deliveries import Filter, Found


@click.group()
def deliveries() -> None:
    """Look at deliveries, resend and delete them."""


@deliveries.command("list")
@filter_options
@click.option("--sort", type=click.Choice(list(ledger.SORTS)), default="number", show_default=True, help="By what.")
@click.option("--ascending", is_flag=True, help="The lowest first, not the highest.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most to list.")
@config_option
@json_option
@click.pass_obj
def list_(session: Session, /, *, sort: str, ascending: bool, limit: int, as_json: bool, **choice: Any) -> int:
    """List deliveries, the newest first."""
    from cdc_hooks.cli import delivery_views  # noqa: PLC0415

    wanted = filter_of(**choice)
    with _ledger(session, wanted) as connection:
        found = ledger.find(connection, wanted, limit=limit, sort=sort, ascending=ascending)
    delivery_views.show_list(found, as_json=as_json, limit=limit)
    return 0


@deliveries.command()
@click.argument("delivery", metavar="ID")
@click.option("--body", is_flag=True, help="Print the request's body, and nothing else.")
@config_option
@json_option
@click.pass_obj
def show(session: Session, delivery: str, *, body: bool, as_json: bool) -> int:
    """Tell the story of a delivery, by its number or its message id: what was sent, each attempt, and what to do."""
    if body and as_json:
        raise click.UsageError("--body and --json cannot be used together.")
    from cdc_hooks.cli import delivery_views  # noqa: PLC0415

    with _ledger(session) as connection:
        one, *_ = by_ids(connection, [delivery])
        more = ledger.details(connection, one)
        if more is None:
            raise ConfigError(f"delivery {delivery} was finished with just now", hint="run it again")
        if body:
            _print_body(one, more.body)
        else:
            tried, related = ledger.attempts(connection, one), ledger.related(connection, one)
            delivery_views.show_one(one, more, tried, related, as_json=as_json)
    return 0


@contextmanager
def _ledger(session: Session, wanted: Filter | None = None) -> Iterator[psycopg.Connection[Any]]:
    """A connection as the daemon's role; ConfigError if ``wanted`` names a webhook that there never was."""
    config = session.config()
    with connected(config.database.dsn.get_secret_value()) as connection:
        ledger.settle(connection)
        if wanted is not None:
            known_webhook(wanted.webhook, {*config.webhooks, *ledger.webhook_names(connection)})
        yield connection


def by_ids(connection: psycopg.Connection[Any], ids: Sequence[str]) -> list[Found]:
    """Deliveries by number or message id, in order of number; raises ConfigError if one of them is not there."""
    nothing = dict.fromkeys(("webhook", "since", "until", "table", "row", "status"))
    found = ledger.find(connection, filter_of(ids, states=(), **nothing), ascending=True)
    must_be_there(ids, {one.number for one in found}, {one.message_id for one in found})
    return found


def _print_body(one: Found, body: bytes | None) -> None:
    if body is None:
        raise ConfigError(
            f"the body of delivery {one.number} was not kept",
            hint="ledger.bodies says which are kept",
        )
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
