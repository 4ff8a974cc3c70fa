"""``test``: where its row comes from, and how the request and the answer look."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks.assembly import wanted
from cdc_hooks.cli.connect import admin_dsn, connected
from cdc_hooks.cli.output import print_json, printable, took
from cdc_hooks.config.redact import MASK, show_url
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.sign import fingerprint
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action
from cdc_hooks.trial import rows
from cdc_hooks.trial.given import NO_ROW, Row, parse_data
from cdc_hooks.trial.layout import indented
from cdc_hooks.trial.sending import Trial, attempt, choose, prepare
from cdc_hooks.trial.verdict import Verdict, advice, judge

if TYPE_CHECKING:
    from typing import BinaryIO

    from cdc_hooks.config import Config
    from cdc_hooks.deliver.outcome import Outcome

_MOST_LINES, _LONGEST_LINE = 60, 200


@dataclass(frozen=True)
class Wish:
    """What the options ask for."""

    webhook: str
    table: str | None
    action: str | None
    row: str | None
    data: BinaryIO | None
    count: int
    dsn: str | None
    dry_run: bool
    as_json: bool


def run(config: Config, wish: Wish) -> int:
    """Send a test and show what came of it; the exit status."""
    table, action = choose(config, wish.webhook, wish.table, None if wish.action is None else Action(wish.action))
    most = config.webhooks[wish.webhook].batch.max_events
    if wish.count > most:
        raise ConfigError(
            f"webhook {wish.webhook} never gets {wish.count} events in one request",
            hint=f"give --count up to {most} (batch.max_events)",
        )
    row, source = _row(config, wish, table, action)
    trial = prepare(config, wish.webhook, table, action, row, count=wish.count, now=time.time())
    notes = [row.note] if row.note else []
    if len(trial.events) < wish.count:
        notes.append(f"{len(trial.events)} events of {wish.count}: batch.max_bytes has no room for more")
    for note in notes:
        click.echo(f"note: {note}", err=True)
    shown = _Shown(trial, f"{source} of {table}, {action}")
    if not wish.as_json:
        click.echo(f"To webhook {wish.webhook}: {shown.what}\n")
    outcome = asyncio.run(
        attempt(trial, shown.keep if wish.as_json else shown.show_request, dry_run=wish.dry_run),
    )
    verdict, hint = (None, None) if outcome is None else _judged(trial, outcome)
    if wish.as_json:
        print_json(shown.as_data(outcome, verdict, hint))
    elif outcome is not None and verdict is not None:
        _show_answer(outcome, verdict, hint)
    return 0 if verdict is None or verdict.delivered else 1


def _row(config: Config, wish: Wish, table: str, action: Action) -> tuple[Row, str]:
    """The row to send, and what it is in words."""
    if action is Action.TRUNCATE:
        if wish.row is not None or wish.data is not None:
            raise ConfigError("a truncate has no row", hint="leave --row and --data out, or give another --action")
        return NO_ROW, "the news"
    (capture,) = (one for one in wanted(config) if one.table == table)
    if wish.data is not None:
        source = "standard input" if wish.data.name in {"-", "<stdin>"} else wish.data.name
        return parse_data(wish.data.read(), source, capture), "a given row"
    if wish.row is not None:
        with connected(admin_dsn(wish.dsn, config.database)) as connection:
            return rows.real_row(connection, capture, wish.row), "a real row"
    with connected(wish.dsn or config.database.dsn.get_secret_value()) as connection:
        return rows.sample_row(connection, capture), "a made-up row"


def _judged(trial: Trial, outcome: Outcome) -> tuple[Verdict, str | None]:
    plan = trial.plan
    verdict = judge(plan.policy, trial.events, outcome, time.time(), partial_ack=plan.webhook.partial_ack)
    if verdict.delivered:
        return verdict, None
    return verdict, advice(
        outcome, show_url(plan.webhook.url), [fingerprint(key) for key in plan.keys], plan.webhook.timeout.total
    )


class _Shown:
    """The request as people may see it: without what the configuration holds secret."""

    def __init__(self, trial: Trial, what: str) -> None:
        self.what = what
        self._trial = trial
        self._line, self._headers = "", dict[str, str]()

    def keep(self, head: bytes) -> None:
        """Take the head of the request, to be shown with the answer."""
        masked = {name.lower() for name in self._trial.plan.webhook.request_headers()} | {"proxy-authorization"}
        self._line, *lines = head.decode("latin-1").rstrip().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        self._headers = {name: MASK if name in masked else value for name, _, value in pairs}

    def show_request(self, head: bytes) -> None:
        """Print it."""
        self.keep(head)
        method, target, version = self._line.split(" ")
        click.echo(f"{method} {show_url(target)} {version}")
        for name, value in self._headers.items():
            click.echo(f"{name}: {value}")
        click.echo(f"\n{_shortened(printable(indented(self._trial.message.body.decode())))}\n")

    def as_data(self, outcome: Outcome | None, verdict: Verdict | None, hint: str | None) -> dict[str, Any]:
        """All of it, for scripts."""
        message, plan = self._trial.message, self._trial.plan
        return {
            "webhook": plan.shape.webhook,
            "table": message.table,
            "action": message.action,
            "event_count": message.event_count,
            "request": {
                "method": "POST",
                "url": show_url(plan.webhook.url),
                "headers": self._headers,
                "body": message.body.decode(),
            },
            "response": None if outcome is None or outcome.status is None else _answer_as_data(outcome),
            "duration_s": None if outcome is None else round(outcome.duration_s, 6),
            "error": None if outcome is None or outcome.error is None else classify(outcome),
            "delivered": None if verdict is None else verdict.delivered,
            "verdict": None if verdict is None else verdict.words,
            "hint": hint,
        }


def _answer_as_data(outcome: Outcome) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "headers": outcome.headers,
        "body": _text(outcome.body),
        "body_complete": outcome.complete,
    }


def _show_answer(outcome: Outcome, verdict: Verdict, hint: str | None) -> None:
    after = f"after {took(outcome.duration_s)}"
    if outcome.status is None:
        click.echo(f"no answer, {after}: {classify(outcome)}")
    else:
        click.echo(f"HTTP {outcome.status}, {after}")
        for name, value in outcome.headers:
            click.echo(f"{name}: {value}")
        click.echo(f"\n{_answer_body(outcome)}")
    click.echo(f"\n{verdict.words}")
    if hint:
        click.echo(f"  hint: {hint}")


def _answer_body(outcome: Outcome) -> str:
    if not outcome.body:
        return "(no body)"
    text = _text(outcome.body)
    if text is None:
        return f"({len(outcome.body):,} bytes that are not text)"
    return _shortened(text) + ("" if outcome.complete else "\n(and more)")


def _text(body: bytes) -> str | None:
    """A body that is text, without what would steer a terminal; None for one that is not."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        if error.start < len(body) - 3:  # else a character that was cut in two
            return None
        text = body[: error.start].decode()
    return printable(text)


def _shortened(text: str) -> str:
    lines = text.splitlines()
    shown = [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"… and {len(lines) - _MOST_LINES:,} more lines")
    return "\n".join(shown)
