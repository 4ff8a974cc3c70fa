"""Which deliveries a command is about: its arguments and options, and what they mean."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cdc_hooks.config.names import canonical_table
from cdc_hooks.config.problems import did_you_mean
from cdc_hooks.config.units import parse_duration
from cdc_hooks.errors import ConfigError
from cdc_hooks.ops import row_key
from cdc_hooks.ops.deliveries import STATES, Filter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


_STATUS = re.compile(r"([1-9])(?:xx|(\d\d))")


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which deliveries are chosen; ``filter_of`` takes their values."""
    for option in reversed(
        [
            click.option("--webhook", metavar="NAME", help="Of this webhook."),
            click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="In one of these states."),
            click.option("--since", metavar="TIME", help="Last tried since: 2h ago, or 2026-11-21T10:00 (UTC)."),
            click.option("--until", metavar="TIME", help="Last tried before."),
            click.option("--table", metavar="TABLE", help="Of this table, named as in SQL."),
            click.option("--row", metavar="KEY", help=f"With a change of this row: {row_key.WAYS}."),
            click.option("--status", metavar="CODE", help="Last answered so: 500, or 5xx."),
        ]
    ):
        command = option(command)
    return command


def filter_of(
    ids: Sequence[str] = (),
    *,
    webhook: str | None,
    states: Sequence[str],
    since: str | None,
    until: str | None,
    table: str | None,
    row: str | None,
    status: str | None,
) -> Filter:
    """What is asked for. Raises ConfigError for what cannot be meant."""
    status_from, status_to = (None, None) if status is None else _statuses(status)
    now = datetime.now(UTC)
    begin = None if since is None else time_of("--since", since, now)
    end = None if until is None else time_of("--until", until, now)
    if begin is not None and end is not None and begin >= end:
        raise ConfigError(
            f"--since {since} is not before --until {until}", hint="2h is two hours ago, and so before 1h"
        )
    key = None if row is None else _row(row)
    return Filter(
        numbers=[int(one.removeprefix("#")) for one in ids if _is_number(one)] if ids else None,
        message_ids=[one for one in ids if not _is_number(one)] if ids else None,
        webhook=webhook,
        states=list(states) or None,
        since=begin,
        until=end,
        table=None if table is None else _table(table),
        row=key and key.forms,
        row_names=key and key.names,
        row_values=key and key.values,
        status_from=status_from,
        status_to=status_to,
    )


def must_be_there(ids: Sequence[str], numbers: Collection[int], message_ids: Collection[str]) -> None:
    """Raise ConfigError for ids of which no delivery was found."""
    missing = [
        one for one in ids if (int(one.removeprefix("#")) not in numbers if _is_number(one) else one not in message_ids)
    ]
    if missing:
        raise ConfigError(
            f"there is no delivery {', '.join(missing)}",
            hint="it may be older than ledger.keep, or not recorded (ledger.log); see: cdc-hooks deliveries list",
        )


def known_webhook(name: str | None, known: Collection[str]) -> None:
    """Raise ConfigError unless it is None, or one of those."""
    if name is not None and name not in known:
        raise ConfigError(
            f"there is no webhook {name}{did_you_mean(name, known)}", hint=f"there are: {', '.join(known) or 'none'}"
        )


def time_of(option: str, text: str, now: datetime) -> datetime:
    """``now``, ``2h`` (ago), or a time as ISO 8601 writes it, UTC unless it says otherwise. Raises ConfigError."""
    given = text.strip()
    if given == "now":
        return now
    with suppress(ValueError, OverflowError):
        return now - timedelta(seconds=parse_duration(given.removesuffix("ago").strip()))
    try:
        time = datetime.fromisoformat(given)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option}: {text!r} is no time", hint="write 2h or 3d (ago), 2026-11-21T10:00:00 (UTC), or now"
        ) from None


class _Row(NamedTuple):
    """As in ``Filter``."""

    forms: list[str]
    names: list[str]
    values: list[str]


def _row(given: str) -> _Row:
    key = row_key.parse(given)
    ways = [(name, form) for name, value in (key.columns or {}).items() for form in row_key.json_forms(value)]
    return _Row(row_key.json_forms(key.text), [name for name, _ in ways], [form for _, form in ways])


def _statuses(text: str) -> tuple[int, int]:
    found = _STATUS.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigError(f"--status: {text!r} is no status", hint="write a code, such as 503, or a class, such as 5xx")
    first = int(found[1]) * 100
    return (first, first + 99) if found[2] is None else (first + int(found[2]), first + int(found[2]))


def _table(text: str) -> str:
    try:
        return canonical_table(text)
    except ValueError as error:
        raise ConfigError(f"--table {text}: {error}", hint="write it with its schema, such as public.orders") from None


def _is_number(text: str) -> bool:
    digits = text.removeprefix("#")
    return digits.isascii() and digits.isdigit() and len(digits) < 19
