"""The Prometheus metrics.

Base units; labels are names from the configuration and fixed words, so their number is bounded.
"""

from __future__ import annotations

import math
import time
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from cdc_hooks import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.model import Action, Message

STATES = ("active", "retrying", "open", "paused")
OUTCOMES = ("delivered", "dead_letter", "dropped")

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200)


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        # They would double the number of series, to say when each counter was first touched.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        registry = self.registry
        webhook = ["webhook"]
        self.changes_read = Counter(
            "cdc_hooks_changes_read", "Changes read from the change log.", ["table", "action"], registry=registry
        )
        self.changes_delivered = Counter(
            "cdc_hooks_changes_delivered", "Changes in acknowledged batches.", webhook, registry=registry
        )
        self.deliveries = Counter(
            "cdc_hooks_deliveries",
            "Batches that are finished with, by how: delivered, dead_letter or dropped.",
            ["webhook", "outcome"],
            registry=registry,
        )
        self.attempts = Counter(
            "cdc_hooks_attempts",
            "HTTP requests, by outcome: delivered, a status class such as 5xx, or the kind of error.",
            ["webhook", "outcome"],
            registry=registry,
        )
        self.attempt_seconds = Histogram(
            "cdc_hooks_attempt_duration_seconds",
            "From the beginning of a request to the headers of its answer, or its failure.",
            webhook,
            buckets=_SECONDS,
            registry=registry,
        )
        self.commit_to_delivery = Histogram(
            "cdc_hooks_commit_to_delivery_seconds",
            "From the writing of a batch's first row to its acknowledgement.",
            webhook,
            buckets=_SECONDS,
            registry=registry,
        )
        self.backlog = Gauge(
            "cdc_hooks_backlog_changes",
            "Changes in the log that are after the webhook's place (of all tables: an upper bound).",
            webhook,
            registry=registry,
        )
        self.lag = Gauge(
            "cdc_hooks_lag_seconds",
            "Age of the oldest tick that the webhook has not finished.",
            webhook,
            registry=registry,
        )
        self.state = Gauge(
            "cdc_hooks_webhook_state",
            "1 for the state that the webhook is in.",
            ["webhook", "state"],
            registry=registry,
        )
        self.dead_letters = Gauge(
            "cdc_hooks_dead_letters", "Deliveries given up on and kept.", webhook, registry=registry
        )
        self.held = Gauge(
            "cdc_hooks_held_deliveries",
            "Deliveries that wait for a dead letter of their rows (on_poison: hold_row).",
            webhook,
            registry=registry,
        )
        self.ledger_lost = Counter(
            "cdc_hooks_ledger_lost", "Records of deliveries that could not be written.", registry=registry
        )
        self.ledger_bytes = Gauge(
            "cdc_hooks_ledger_bytes", "Finished deliveries and failed attempts on disk.", registry=registry
        )
        self.log_bytes = Gauge("cdc_hooks_change_log_bytes", "Size of the change log on disk.", registry=registry)
        self.log_max_bytes = Gauge(
            "cdc_hooks_change_log_max_bytes", "Disk budget of the change log; +Inf for none.", registry=registry
        )
        self.log_max_bytes.set(math.inf)
        self.log_dropped = Counter(
            "cdc_hooks_change_log_dropped",
            "Partitions of the change log that were dropped before every webhook had got them, to keep the budget.",
            registry=registry,
        )
        self.log_rows = Gauge(
            "cdc_hooks_change_log_rows",
            "Rows in the change log: ids given out since the oldest one in it (an upper bound).",
            registry=registry,
        )
        self.notify_queue = Gauge(
            "cdc_hooks_notify_queue_usage_ratio", "How full the cluster's queue of notifications is.", registry=registry
        )
        self.capture_healthy = Gauge(
            "cdc_hooks_capture_healthy", "1 if the table's triggers are as configured.", ["table"], registry=registry
        )
        self.notices = Counter(
            "cdc_hooks_notices", "Notices to people, by what became of them.", ["channel", "outcome"], registry=registry
        )
        self.leading = Gauge("cdc_hooks_leading", "1 if this daemon acts, 0 if it stands by.", registry=registry)
        Info("cdc_hooks_build", "The version that runs.", registry=registry).info({"version": __version__})
        ProcessCollector(registry=registry)

    def read(self, kinds: Mapping[tuple[str, Action], int]) -> None:
        """Count a page that was read: so many changes of each table and action."""
        for (table, action), count in kinds.items():
            self.changes_read.labels(table, action).inc(count)

    def stand_by(self) -> None:
        """Not leading any more: what only the leader knows is unknown from now on, not unchanged."""
        self.leading.set(0)
        for gauge in (self.backlog, self.lag, self.state, self.dead_letters, self.held, self.capture_healthy):
            gauge.clear()


class WebhookMetrics:
    """The metrics of one webhook, its labels looked up once: doing it for each attempt costs more than counting."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._attempts: dict[str, Counter] = {}
        self._attempt_seconds = metrics.attempt_seconds.labels(name)
        self._commit_to_delivery = metrics.commit_to_delivery.labels(name)
        self._changes_delivered = metrics.changes_delivered.labels(name)
        deliveries = [metrics.deliveries.labels(name, outcome) for outcome in OUTCOMES]
        self._delivered, self._dead_letter, self._dropped = deliveries
        self._count_attempt("delivered", 0)

    def attempted(self, outcome: Outcome, *, delivered: bool) -> None:
        self._count_attempt("delivered" if delivered else outcome.error_class, 1)
        self._attempt_seconds.observe(outcome.duration_s)

    def delivered(self, message: Message) -> None:
        self._delivered.inc()
        self._changes_delivered.inc(message.event_count)
        if message.first_at is not None:
            self._commit_to_delivery.observe(max(0.0, time.time() - _seconds(message.first_at)))

    def accepted(self, events: int) -> None:
        """Some events of a batch have arrived, the others go on."""
        self._changes_delivered.inc(events)

    def gave_up(self, *, dropped: bool) -> None:
        if dropped:
            self._dropped.inc()
            return
        self._dead_letter.inc()
        self._metrics.dead_letters.labels(self._name).inc()  # until they are counted again

    def is_in(self, state: str) -> None:
        for other in STATES:
            self._metrics.state.labels(self._name, other).set(other == state)

    def forget(self) -> None:
        """The webhook is no longer configured: none of its series stays behind."""
        metrics = self._metrics
        for outcome in self._attempts:
            metrics.attempts.remove(self._name, outcome)
        for outcome in OUTCOMES:
            metrics.deliveries.remove(self._name, outcome)
        self.is_in(STATES[0])  # so that there is one to remove
        for state in STATES:
            metrics.state.remove(self._name, state)
        for one in (metrics.attempt_seconds, metrics.commit_to_delivery, metrics.changes_delivered):
            one.remove(self._name)
        for gauge in (metrics.backlog, metrics.lag, metrics.dead_letters, metrics.held):
            gauge.labels(self._name)  # likewise
            gauge.remove(self._name)

    def _count_attempt(self, outcome: str, count: int) -> None:
        counter = self._attempts.get(outcome)
        if counter is None:
            counter = self._attempts[outcome] = self._metrics.attempts.labels(self._name, outcome)
        counter.inc(count)


def _seconds(at: bytes) -> float:
    return datetime.fromisoformat(at.decode()).timestamp()
