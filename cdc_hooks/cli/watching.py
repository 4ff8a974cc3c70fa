"""``status --watch``: the same again and again, with small graphs of what went on meanwhile."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.output import COLOURS, ago
from cdc_hooks.errors import DatabaseError
from cdc_hooks.ops.status import gather

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from cdc_hooks.config import Config
    from cdc_hooks.ops.status import StatusReport, WebhookStatus

WIDTH = 30
_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass
class History:
    """Of one webhook: lag in seconds and changes delivered a second, one value for each look."""

    lags: deque[float] = field(default_factory=lambda: deque(maxlen=WIDTH))
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=WIDTH))
    delivered: int | None = None
    at: float = 0.0

    def add(self, webhook: WebhookStatus, now: float) -> None:
        """``now`` in seconds of any clock that does not go back."""
        if self.delivered is not None and now > self.at:
            self.rates.append(max(0, webhook.delivered - self.delivered) / (now - self.at))
        self.lags.append(webhook.lag_s)
        self.delivered, self.at = webhook.delivered, now


def sparkline(values: Iterable[float]) -> str:
    """A graph in one line, from nothing to the largest value."""
    values = list(values)
    most = max(values, default=0.0)
    top = len(_LEVELS) - 1
    return "".join(_LEVELS[round(top * value / most) if most else 0] for value in values)


def watch(config: Config, console: Console, every_s: float) -> None:
    """Show it until interrupted. A database that cannot be reached is shown, too, and asked again."""
    histories: dict[str, History] = {}
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                with connected(config.database.dsn.get_secret_value()) as connection:
                    while True:
                        report = gather(connection, config)
                        for webhook in report.webhooks:
                            histories.setdefault(webhook.name, History()).add(webhook, time.monotonic())
                        live.update(view(report, histories), refresh=True)
                        time.sleep(every_s)
            except DatabaseError as error:
                live.update(Text(f"{error}\n\nasked again in {every_s:g} s; Ctrl-C ends this"), refresh=True)
                time.sleep(every_s)


def view(report: StatusReport, histories: dict[str, History]) -> Group:
    """What is shown at one moment."""
    now = datetime.now(UTC)
    since = f", for {ago((now - report.daemon_since).total_seconds())}" if report.daemon_since else ""
    table = Table("webhook", "state", "lag", "", "changes/s", "", "backlog", "dead", box=None, header_style="bold")
    for webhook in report.webhooks:
        history = histories.get(webhook.name, History())
        rate = history.rates[-1] if history.rates else 0.0
        table.add_row(
            webhook.name,
            Text(webhook.state, COLOURS.get(webhook.state, "")),
            ago(webhook.lag_s),
            Text(sparkline(history.lags), "yellow"),
            f"{rate:,.0f}",
            Text(sparkline(history.rates), "green"),
            f"{webhook.backlog:,}",
            str(webhook.dead_letters),
        )
    troubles = [f"{one.name}: {one.summary}" for one in report.webhooks if one.state not in {"active", "retired"}]
    head = f"{now:%H:%M:%S} UTC   daemon: {report.daemon or 'none runs'}{since}   (Ctrl-C ends this)\n"
    return Group(Text(head), table, Text("\n" + "\n".join(troubles)))
