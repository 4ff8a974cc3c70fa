"""``deliveries``: what was sent, what waits, what was given up on; and an operator's hands on it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.delivery_options import filter_of, filter_options, known_webhook, must_be_there
from cdc_hooks.cli.output import confirmed
from cdc_hooks.cli.program import RATE, Session, config_option, json_option
from cdc_hooks.errors import ConfigError
from cdc_hooks.ops import deliveries as ledger
from cdc_hooks.ops.deliveries import Filter
from cdc_hooks.ops.following import firsts, held_behind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import psycopg

    from cdc_hooks.ops.deliveries import Found


_PAGE = 1000
_PAGE_OF_TEXT = 50
_MOST = 1_000_000_000
_TOLD = 20


@click.group()
def deliveries() -> None:
    """Look at deliveries, resend and delete them."""


@deliveries.command("list")
@filter_options
@click.option("--sort", type=click.Choice(list(ledger.SORTS)), default="number", show_default=True, help="By what.")
@click.option("--ascending", is_flag=True, help="The lowest first, not the highest.")
@click.option(
    "--limit", type=click.IntRange(1, _MOST), metavar="N", help=f"Most to list. Else {_PAGE_OF_TEXT}; with --json, all."
)
@config_option
@json_option
@click.pass_obj
def list_(session: Session, /, *, sort: str, ascending: bool, limit: int | None, as_json: bool, **choice: Any) -> int:
    """List deliveries, the newest first."""
    from cdc_hooks.cli import delivery_views  # noqa: PLC0415

    wanted = filter_of(**choice)
    with _ledger(session, wanted) as connection:
        if limit is None and not as_json:
            limit = _PAGE_OF_TEXT
        found = ledger.find(connection, wanted, limit=limit, sort=sort, ascending=ascending)
        there = sum(ledger.count(connection, wanted).values()) if len(found) == limit else len(found)
    delivery_views.show_list(found, as_json=as_json, left_out=there - len(found))
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


@deliveries.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--rate", type=RATE, metavar="N", help="At most so many a second.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@click.pass_obj
def resend(session: Session, /, ids: Sequence[str], *, rate: float | None, yes: bool, **choice: Any) -> int:
    """Send deliveries again, as they are stored, with the webhook's present URL, secret and authentication.

    By their numbers or message ids; or, by options, those that were set aside (with --state: those that are in it). In
    order of number: of two changes of a row the earlier one goes first.
    """
    from cdc_hooks.cli import resending  # noqa: PLC0415

    by_options = _one_way_to_choose(ids, choice)
    with _ledger(session, filter_of(**choice)) as connection:
        if by_options:
            states = choice["states"] or ledger.LETTERS
            chosen = ledger.find(connection, filter_of(**{**choice, "states": states}), ascending=True)
        else:
            chosen = by_ids(connection, ids)
        if not chosen:
            which = (
                "" if choice["states"] else f" in a state to be resent ({', '.join(states)}); --state chooses others"
            )
            click.echo(f"No such deliveries{which}.")
            return 0
        if by_options and not yes and not confirmed(f"Resend {_count(len(chosen))}?"):
            return 1
        return resending.resend(connection, session.config(), chosen, rate=rate)


@deliveries.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@click.pass_obj
def delete(session: Session, /, ids: Sequence[str], *, yes: bool, **choice: Any) -> int:
    """Delete what is recorded of deliveries: those that were given up on, with their bodies, and finished ones.

    What waits to be delivered stays, unless its webhook is no longer configured.
    """
    by_options = _one_way_to_choose(ids, choice)
    wanted = filter_of(**choice)
    with _ledger(session, wanted) as connection:
        if not by_options:
            wanted = Filter(numbers=[one.number for one in by_ids(connection, ids)], message_ids=[])
        counts = ledger.count(connection, wanted)
        if not counts:
            click.echo("No such deliveries.")
            return 0
        what = ", ".join(f"{count:,} {state}" for state, count in counts.items())
        question = f"Delete the records of {_count(sum(counts.values()))} ({what})? They cannot be resent then."
        if not yes and not confirmed(question):
            return 1
        return _delete(connection, wanted)


@deliveries.command()
@filter_options
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True, help="How.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Where to: a file for you alone to read (mode 0600). Else, and with -, stdout.",
)
@config_option
@click.pass_obj
def export(session: Session, /, *, form: str, output: Path | None, **choice: Any) -> int:
    """Write deliveries for other programs, the oldest first, with their bodies as far as they are kept.

    JSON lines have each attempt that failed, with what was answered; CSV has the last answer. Times are in UTC. Bodies
    are text, or base64 in a column of their own.
    """
    from cdc_hooks.cli import exporting  # noqa: PLC0415

    output = None if output == Path("-") else output
    wanted = filter_of(**choice)
    with _ledger(session, wanted) as connection, exporting.written(output) as to:
        count = exporting.export(connection, wanted, exporting.FORMATS[form](to))
    if output is not None:
        click.echo(f"{_count(count)} written to {output}.", err=True)
    return 0


def _delete(connection: psycopg.Connection[Any], wanted: Filter) -> int:
    """Page by page, so that it holds no locks for long. The exit status."""
    gone, stayed = 0, []
    letters: list[Found] = []
    after = -1
    while page := ledger.find(connection, replace(wanted, after=after), limit=_PAGE, ascending=True):
        after = page[-1].number
        deleted = ledger.delete(connection, [one.number for one in page])
        gone += len(deleted)
        stayed += [one for one in page if one.number not in deleted]
        letters += [one for one in page if one.number in deleted and one.open]
    click.echo(f"{_count(gone)} deleted.")
    _tell_followers(held_behind(connection, letters))
    for one in stayed[:_TOLD]:
        click.echo(
            f"{one.number} stays: it is {one.state}, and will be tried again. To leave out what waits: "
            f"cdc-hooks resume {one.webhook} --from now",
            err=True,
        )
    if len(stayed) > _TOLD:
        click.echo(f"and {len(stayed) - _TOLD} more", err=True)
    return 1 if stayed else 0


def _tell_followers(held: Sequence[Found]) -> None:
    if held:
        # The others follow the first one of their rows.
        numbers = " ".join(str(one.number) for one in firsts(held)[:_TOLD])
        click.echo(
            f"{_count(len(held))} {'was' if len(held) == 1 else 'were'} held for what was deleted; "
            f"to send what was held: cdc-hooks deliveries resend {numbers}",
            err=True,
        )


def _one_way_to_choose(ids: Sequence[str], choice: Mapping[str, Any]) -> bool:
    """Whether deliveries are chosen by options; UsageError unless it is done by ids or by options."""
    by_options = any(choice.values())
    if bool(ids) == by_options:
        both = " Not both." if ids else ""
        raise click.UsageError(f"Name the deliveries, or choose them by options such as --webhook and --state.{both}")
    return by_options


def _count(number: int) -> str:
    return f"{number:,} deliver{'y' if number == 1 else 'ies'}"


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
