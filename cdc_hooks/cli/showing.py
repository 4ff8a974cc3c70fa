"""How ``status`` looks."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from cdc_hooks.cli.output import ago, print_json, print_table, took
from cdc_hooks.config.units import rough_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc_hooks.ops.status import Statistics, StatusReport, WebhookStatus

_TITLES = ("webhook", "state", "delivered", "backlog", "lag", "dead", "gaps", "last success", "what is going on")
_SUMS = ("webhook", "over the last", "deliveries", "success", "average", "p95", "longest")
_SPANS = {"hour": "hour", "day": "day", "month": "30 days"}


def show(report: StatusReport, *, as_json: bool) -> None:
    """Print a report: who leads, the webhooks, and what is wrong with captures."""
    if as_json:
        print_json(asdict(report))
        return
    now = datetime.now(UTC)
    if report.daemon is None:
        click.echo("daemon: none runs, or it waits, and its log says for what: systemctl status cdc-hooks")
    else:
        since = ago((now - report.daemon_since).total_seconds()) if report.daemon_since else "-"
        click.echo(f"daemon: {report.daemon}, for {since}")
    click.echo(f"change log: {rough_size(report.log_bytes)}\n")
    print_table(_TITLES, [_row(webhook, now) for webhook in report.webhooks], cut=["webhook"], sentences=True)
    _show_statistics(report)
    for line in report.captures:
        click.echo(f"capture: {line}")
    for what_to_do in _advice(report):
        click.echo(f"\n{what_to_do}")


def _advice(report: StatusReport) -> Iterator[str]:
    """What to do that no webhook's own sentence says."""
    if report.captures:
        yield "Changes of these tables may be lost until this mends it: cdc-hooks plan, then cdc-hooks apply"
    if any(webhook.dead_letters for webhook in report.webhooks):
        look = "cdc-hooks deliveries list --state rejected --state dead"
        yield f"Dead letters wait until somebody decides: {look}; then show, resend or delete"


def _show_statistics(report: StatusReport) -> None:
    """Deliveries, success and latency over the last hour, day and 30 days, where there were any."""
    rows = [
        [
            webhook.name,
            spans,
            f"{sums.deliveries:,}",
            _part(sums.success_rate),
            took(sums.mean_s),
            took(sums.p95_s),
            took(sums.longest_s),
        ]
        for webhook in report.webhooks
        for spans, sums in _by_span(webhook)
    ]
    if rows:
        click.echo()
        print_table(_SUMS, rows, cut=["webhook"])


def _by_span(webhook: WebhookStatus) -> list[tuple[str, Statistics]]:
    """Spans for which all is the same, because there was nothing before, are one: ``hour, day``."""
    found: list[tuple[str, Statistics]] = []
    for span, title in _SPANS.items():
        sums = webhook.statistics.get(span)
        if sums is None:
            continue
        if found and found[-1][1] == sums:
            found[-1] = (f"{found[-1][0]}, {title}", sums)
        else:
            found.append((title, sums))
    return found


def _part(rate: float | None) -> str:
    """Percents, rounded down: 100 % means all."""
    return "-" if rate is None else f"{int(rate * 1000) / 10:g} %"


def _row(webhook: WebhookStatus, now: datetime) -> list[str]:
    success = webhook.last_success_at
    return [
        webhook.name,
        webhook.state,
        f"{webhook.delivered:,}",
        f"{webhook.backlog:,}",
        ago(webhook.lag_s),
        str(webhook.dead_letters),
        str(webhook.gaps),
        f"{ago((now - success).total_seconds())} ago" if success else "never",
        webhook.summary,
    ]
