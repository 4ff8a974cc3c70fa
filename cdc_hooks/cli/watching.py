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
from rich.text import Text

from cdc_hooks.cli.capturing import report_of
from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.fitting import Table, aligned, fitted
from cdc_hooks.cli.output import ago, coloured, dots, shows, terminal_width
from cdc_hooks.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console

    from cdc_hooks.config import Config
    from cdc_hooks.ops.status import StatusReport, WebhookStatus

WIDTH = 30
LEVELS, PLAIN_LEVELS = "▁▂▃▄▅▆▇█", "_.:-=+*#"
_SHORTEST_GRAPH = 5
_TITLES = ("webhook", "state", "lag", "changes/s", "backlog", "dead")


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


def sparkline(values: Iterable[float], levels: str = LEVELS) -> str:
    """A graph in one line, from nothing to the largest value."""
    values = list(values)
    most = max(values, default=0.0)
    top = len(levels) - 1
    return "".join(levels[round(top * value / most) if most else 0] for value in values)


def watch(config: Config, console: Console, every_s: float) -> None:
    """Show it until interrupted. A database that cannot be reached is shown, too, and asked again."""
    with suppress(KeyboardInterrupt):
        if console.is_dumb_terminal:  # which cannot be drawn on: one view below the other
            _again_and_again(config, every_s, lambda shown: console.print(shown, soft_wrap=True))
        else:
            with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False) as live:
                _again_and_again(config, every_s, lambda shown: live.update(shown, refresh=True))


def _again_and_again(config: Config, every_s: float, show: Callable[[Group | Text], None]) -> None:
    histories: dict[str, History] = {}
    while True:
        try:
            with connected(config.database.dsn.get_secret_value()) as connection:
                while True:
                    report = report_of(connection, config)
                    for webhook in report.webhooks:
                        histories.setdefault(webhook.name, History()).add(webhook, time.monotonic())
                    levels = LEVELS if shows(LEVELS) else PLAIN_LEVELS
                    show(view(report, histories, terminal_width(), levels))
                    time.sleep(every_s)
        except DatabaseError as error:
            show(Text(f"{error}\n\nasked again in {every_s:g} s; Ctrl-C ends this"))
            time.sleep(every_s)


def view(report: StatusReport, histories: dict[str, History], width: int = 120, levels: str = LEVELS) -> Group:
    """What is shown at one moment, on so many characters a line."""
    now = datetime.now(UTC)
    since = f", for {ago((now - report.daemon_since).total_seconds())}" if report.daemon_since else ""
    troubles = [f"{one.name}: {one.summary}" for one in report.webhooks if one.state not in {"active", "retired"}]
    troubles += [f"capture: {line}" for line in report.captures]
    head = f"{now:%H:%M:%S} UTC   daemon: {report.daemon or 'none runs'}{since}   (Ctrl-C ends this)\n"
    table = fitted(_table(report, histories, width, levels), width, dots())
    return Group(Text(head), *coloured(table), Text("\n" + "\n".join(troubles)))


def _table(report: StatusReport, histories: dict[str, History], width: int, levels: str) -> Table:
    """With graphs as long as there is room for them; else without."""
    rows = []
    for webhook in report.webhooks:
        history = histories.get(webhook.name, History())
        rate = history.rates[-1] if history.rates else 0.0
        numbers = [ago(webhook.lag_s), f"{rate:,.0f}", f"{webhook.backlog:,}", str(webhook.dead_letters)]
        rows.append([webhook.name, webhook.state, *numbers])
    cut, spare = ("webhook",), ("dead", "backlog")
    taken = max(map(len, aligned([_TITLES, *rows])))
    length = min(WIDTH, (width - taken) // 2 - 2)
    if length < _SHORTEST_GRAPH:
        return Table(_TITLES, rows, cut, spare)
    for row, webhook in zip(rows, report.webhooks, strict=True):
        history = histories.get(webhook.name, History())
        row.insert(4, sparkline(list(history.rates)[-length:], levels).ljust(length))
        row.insert(3, sparkline(list(history.lags)[-length:], levels).ljust(length))
    return Table([*_TITLES[:3], "", _TITLES[3], "", *_TITLES[4:]], rows, cut, spare)
