"""How deliveries look: a table of many, a timeline of one."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from cdc_hooks.cli.output import print_json, print_table, printable, took

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdc_hooks.ops.deliveries import Details, Found, PastAttempt, Related

_TITLES = ("number", "last tried (UTC)", "webhook", "state", "table", "action", "events", "attempts", "outcome", "took")
_CUT = ("webhook", "table", "outcome")
_SPARE = ("took", "events", "attempts", "action")
_SHOWN_ROWS = 20
ENDED = frozenset({"delivered", "resent", "failed", "dropped"})
"""States of which the last attempt stands in the delivery itself."""
_SHOWN_BODY = 2000
_LONGEST_OUTCOME = 60


def show_list(found: Sequence[Found], *, as_json: bool, left_out: int) -> None:
    """Print what was found, and say how many more there are."""
    if as_json:
        print_json([as_data(one) for one in found])
    elif found:
        print_table(_TITLES, [_line(one) for one in found], cut=_CUT, spare=_SPARE)
    else:
        click.echo("No deliveries.")
    if left_out > 0:
        more = f"These are {len(found):,} of {len(found) + left_out:,}"
        click.echo(f"{more}; for more: a higher --limit, a narrower choice, or export.", err=True)


def as_data(one: Found) -> dict[str, Any]:
    """For JSON: times as ISO 8601, keys of rows as they are in the bodies."""
    return {**asdict(one), "row_ids": _rows(one), **{name: iso(getattr(one, name)) for name in _TIMES}}


_TIMES = ("first_attempt_at", "last_attempt_at", "next_attempt_at")


def iso(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def outcome_of(one: Found) -> str:
    """The last status or error, in words."""
    if one.last_error:
        return one.last_error
    return f"answered {one.last_status}" if one.last_status is not None else ""


def show_one(
    one: Found, more: Details, tried: Sequence[PastAttempt], related: Sequence[Related], *, as_json: bool
) -> None:
    """Print all there is to know of a delivery, but for its body."""
    if as_json:
        print_json(_all_data(one, more, tried, related))
        return
    click.echo(f"delivery {one.number}: {one.state}{'' if one.kind == 'normal' else f' ({one.kind})'}")
    for title, text in _facts(one, more):
        click.echo(f"  {title:<11}{text}")
    for line in _timeline(one, more, tried, related):
        click.echo(line)
    click.echo(f"\n{_what_next(one, more, related)}")


def readable(body: bytes) -> str | None:
    """A body as text that is safe on a terminal, or None if it is no text."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    return printable(text)


def body_data(body: bytes | None) -> dict[str, str] | None:
    """A body for JSON: ``text``, or ``base64`` where it is not UTF-8."""
    if body is None:
        return None
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _line(one: Found) -> list[str]:
    outcome = outcome_of(one)
    return [
        str(one.number),
        f"{one.last_attempt_at:%Y-%m-%d %H:%M:%S}",
        one.webhook,
        one.state,
        one.table_name,
        one.action,
        str(one.event_count),
        str(one.attempts),
        outcome if len(outcome) <= _LONGEST_OUTCOME else outcome[: _LONGEST_OUTCOME - 1] + "…",
        took(one.duration_s),
    ]


def _rows(one: Found) -> list[Any]:
    keys: list[Any] = json.loads(one.row_ids)
    return keys


def _facts(one: Found, more: Details) -> Iterator[tuple[str, str]]:
    events = one.first_event if one.first_event == one.last_event else f"{one.first_event} to {one.last_event}"
    yield "webhook", one.webhook
    yield "message id", one.message_id
    yield "what", f"{one.event_count} of {one.action} in {one.table_name}: {events}"
    rows = [printable(json.dumps(key, ensure_ascii=False)) for key in _rows(one)]
    if rows:
        left_out = f", and {len(rows) - _SHOWN_ROWS} more (--json)" if len(rows) > _SHOWN_ROWS else ""
        yield "rows", ", ".join(rows[:_SHOWN_ROWS]) + left_out
    if one.part_of:
        yield "part of", one.part_of
    if one.resend_of is not None:
        yield "resend of", str(one.resend_of)
    if more.url is not None:
        fields = json.loads(more.fields or "{}").get(one.table_name)
        yield "fields", "all" if fields is None else ", ".join(fields) or "none"
        yield "url", more.url
        yield "secret", f"fingerprint {more.secrets or '-'}"
        yield "headers", ", ".join(["content-type", "user-agent", *(more.headers or "").split(), *_SIGNING])
    size = "not kept" if more.body is None else f"{len(more.body):,} bytes; to see it: --body"
    yield "body", size


_SIGNING = ("webhook-id", "webhook-timestamp", "webhook-signature")


def _timeline(one: Found, more: Details, tried: Sequence[PastAttempt], related: Sequence[Related]) -> Iterator[str]:
    ended = one.state in ENDED
    if one.attempts > len(tried) + ended:
        yield "\n(other attempts are older than ledger.keep, or were not recorded)"
    for past in tried:
        by_hand = ", by hand" if past.by_hand else ""
        error = past.error or (f"answered {past.status}" if past.status is not None else "failed")
        yield f"\n{_time(past.at)}  attempt {past.attempt}{by_hand}, {took(past.duration_s)}: {error}"
        yield from _indented("sent", past.request_headers)
        yield from _answer(past.response_headers, past.response_body)
    if ended:
        yield f"\n{_time(one.last_attempt_at)}  attempt {one.attempts}, {took(one.duration_s)}: {outcome_of(one)}"
        yield from _answer(more.response_headers, more.response_body)
    for other in related:
        what = "resent as" if other.is_resend else "part"
        yield f"\n{_time(other.last_attempt_at)}  {what} {other.number}: {other.state}"


def _answer(headers: str | None, body: bytes | None) -> Iterator[str]:
    yield from _indented("answer", headers)
    if body:
        text = readable(body)
        if text is None:
            yield f"    body: {len(body):,} bytes that are not text; to see them: --json"
        else:
            shortened = f" (the first {_SHOWN_BODY:,} characters)" if len(text) > _SHOWN_BODY else ""
            yield from _indented(f"body{shortened}", text[:_SHOWN_BODY])


def _indented(title: str, text: str | None) -> Iterator[str]:
    if text:
        yield f"    {title}:"
        yield from (f"      {line}" for line in text.split("\n"))


def _what_next(one: Found, more: Details, related: Sequence[Related]) -> str:
    resend = f"cdc-hooks deliveries resend {one.number}"
    delete = f"cdc-hooks deliveries delete {one.number}"
    match one.state:
        case "pending" if more.paused_why is not None:
            return f"Next: nothing, the webhook is paused ({more.paused_why}). To go on: cdc-hooks resume {one.webhook}"
        case "pending" if more.retired:
            return f"Next: nothing, the webhook is no longer configured. To forget it: {delete}"
        case "pending":
            at = one.next_attempt_at
            when = "soon" if at is None or at <= datetime.now(UTC) + timedelta(seconds=1) else f"at {_time(at)}"
            return f"Next: it is tried again {when}. To have it tried at once: cdc-hooks resume {one.webhook}"
        case "split" if one.open:
            return "Next: it was split, and its parts are sent on their own. Nothing is to be done."
        case "split":
            return "It was split, and its parts, which are deliveries of their own, are finished with."
        case "held":
            return (
                "Next: nothing. An earlier change of one of its rows was set aside, and it waits behind that: resend "
                f"that one, and this one follows. To send it nevertheless: {resend}"
            )
        case "rejected":
            return (
                "Next: nothing. The receiver refuses what it says: ask whom it belongs to. When it is mended: "
                f"{resend}; if it is not wanted any more: {delete}"
            )
        case "dead":
            return (
                "Next: nothing. All attempts failed, and it was set aside. When the receiver is well again: "
                f"{resend}; if it is not wanted any more: {delete}"
            )
        case "resent":
            as_number = next((f" as {other.number}" for other in reversed(related) if other.is_resend), "")
            return f"It was set aside, and then resent{as_number} with success. Nothing is to be done."
        case "failed":
            return f"This resend failed. See the delivery itself: cdc-hooks deliveries show {one.resend_of}"
        case "dropped":
            return "It was given up on and forgotten (retry.on_exhausted: drop). To send its rows again: use replay."
    again = f"To send it once more: {resend}" if one.has_body else "To send its rows once more: use replay."
    return f"It was delivered. {again}"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03} UTC"


def _all_data(one: Found, more: Details, tried: Sequence[PastAttempt], related: Sequence[Related]) -> dict[str, Any]:
    return {
        **as_data(one),
        "url": more.url,
        "secrets": (more.secrets or "").split(),
        "fields": json.loads(more.fields or "{}").get(one.table_name),
        "request_headers": (more.headers or "").split(),
        "response_headers": more.response_headers,
        "response_body": body_data(more.response_body),
        "body": body_data(more.body),
        "failed_attempts": [
            {**asdict(past), "at": iso(past.at), "response_body": body_data(past.response_body)} for past in tried
        ],
        "related": [{**asdict(other), "last_attempt_at": iso(other.last_attempt_at)} for other in related],
        "next": _what_next(one, more, related),
    }
