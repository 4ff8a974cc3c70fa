"""How a notice is said: as an event that programs read, and as mail that people read. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import NamedTuple

from cdc_hooks.model import Cause
from cdc_hooks.ops.notices.book import Told

MOST_IN_A_MAIL = 50
_PREFIX = "[cdc-hooks]"

_KINDS: Mapping[Cause, tuple[str, str]] = {
    Cause.PAUSED: ("cdc_hooks.webhook.paused", "{} is paused"),
    Cause.SICK: ("cdc_hooks.webhook.sick", "{} fails and is held back"),
    Cause.RECOVERED: ("cdc_hooks.webhook.recovered", "{} has recovered"),
    Cause.DEAD_LETTER: ("cdc_hooks.webhook.dead_letter", "{} has a dead letter"),
    Cause.GAP: ("cdc_hooks.webhook.gap", "{} has missed changes"),
    Cause.DISK_BUDGET: ("cdc_hooks.change_log.disk_budget", "the change log nears its disk budget"),
    Cause.DISK_FULL: ("cdc_hooks.change_log.disk_full", "the change log has reached its disk budget"),
    Cause.CAPTURE: ("cdc_hooks.capture.faulty", "a capture is not as configured"),
}


class Notice(NamedTuple):
    """One thing to tell, ready to be sent. ``at`` and ``since`` in seconds since 1970."""

    id: str
    type: str
    headline: str
    webhook: str | None
    what: str
    hint: str
    at: float
    repeated: int = 0
    since: float | None = None


def notice_of(told: Told, identity: str) -> Notice:
    """The words of it; ``identity`` stays the same however often it is sent."""
    kind, headline = _KINDS[told.cause]
    what, hint, at = told.occurrence
    subject = headline.format(told.webhook or "a webhook")
    return Notice(identity, kind, subject, told.webhook, what, hint, at, told.repeated, told.since)


def sample(identity: str, at: float) -> Notice:
    """What ``notify test`` sends."""
    what = "this is a test: nothing has happened"
    return Notice(identity, "cdc_hooks.test", "test", None, what, "nothing is to be done", at)


def event(notice: Notice, host: str) -> bytes:
    """The body of a request: JSON."""
    data = {
        "webhook": notice.webhook,
        "what": notice.what,
        "hint": notice.hint,
        "repeated": notice.repeated,
        "since": None if notice.since is None else _iso(notice.since),
        "host": host,
    }
    said = {"id": notice.id, "type": notice.type, "timestamp": _iso(notice.at), "data": data}
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def mail(notices: Sequence[Notice], host: str, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """One mail for all of them; the same ones give the same Message-ID."""
    first, more = notices[0], len(notices) - 1
    message = EmailMessage(SMTP)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = f"{_PREFIX} {first.headline}" + (f", and {more} more" if more else "")
    message["Date"] = format_datetime(datetime.fromtimestamp(first.at, UTC))
    message["Message-ID"] = f"<{first.id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    paragraphs = [_paragraph(notice) for notice in notices[:MOST_IN_A_MAIL]]
    if len(notices) > MOST_IN_A_MAIL:
        paragraphs.append(f"{len(notices) - MOST_IN_A_MAIL} more are left out here; see: cdc-hooks status\n")
    message.set_content("\n".join([*paragraphs, f"-- \ncdc-hooks on {host}\n"]))
    return message


def _paragraph(notice: Notice) -> str:
    lines = [notice.headline, f"  When: {_minutes(notice.at)}", f"  What happened: {notice.what}"]
    if notice.repeated and notice.since is not None:
        lines[-1] += f"; and {notice.repeated} more since {_minutes(notice.since)}"
    return "\n".join([*lines, f"  What to do: {notice.hint}", ""])


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _minutes(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
