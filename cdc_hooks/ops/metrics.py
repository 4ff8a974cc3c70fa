"""The Prometheus metrics, and the observer that fills them.

Base units; labels are names from the configuration, so their number is bounded.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from cdc_hooks import __version__

if TYPE_CHECKING:
    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.model import Change, Message

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200)


class Metrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
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
            "Batches that are finished with, by how: delivered or dead_letter.",
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
            "cdc_hooks_attempt_duration_seconds", "Time of one attempt.", webhook, buckets=_SECONDS, registry=registry
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
            "cdc_hooks_lag_seconds", "Age of the oldest tick that the webhook has not finished.", webhook, registry=registry
        )
        self.state = Gauge(
            "cdc_hooks_webhook_state", "1 for the state that the webhook is in.", ["webhook", "state"], registry=registry
        )
        self.dead_letters = Gauge(
            "cdc_hooks_dead_letters", "Deliveries given up on and kept.", webhook, registry=registry
        )
        self.log_bytes = Gauge("cdc_hooks_change_log_bytes", "Size of the change log on disk.", registry=registry)
        self.log_changes = Gauge(
            "cdc_hooks_change_log_ids", "Ids given out since the oldest change that is kept.", registry=registry
        )
        self.notify_queue = Gauge(
            "cdc_hooks_notify_queue_usage_ratio", "How full the cluster's queue of notifications is.", registry=registry
        )
        self.capture_healthy = Gauge(
            "cdc_hooks_capture_healthy", "1 if the table's triggers are as configured.", ["table"], registry=registry
        )
        self.leading = Gauge("cdc_hooks_leading", "1 if this daemon acts, 0 if it stands by.", registry=registry)
        Info("cdc_hooks_build", "The version that runs.", registry=registry).info({"version": __version__})

    def read(self, changes: list[Change]) -> None:
        """Count a page that was read."""
        counts: dict[tuple[str, str], int] = {}
        for change in changes:
            kind = (change.table, change.action)
            counts[kind] = counts.get(kind, 0) + 1
        for kind, count in counts.items():
            self.changes_read.labels(*kind).inc(count)

    def attempted(self, webhook: str, outcome: Outcome, *, delivered: bool) -> None:
        self.attempts.labels(webhook, "delivered" if delivered else _kind(outcome)).inc()
        self.attempt_seconds.labels(webhook).observe(outcome.duration_s)

    def delivered(self, webhook: str, message: Message) -> None:
        self.deliveries.labels(webhook, "delivered").inc()
        self.changes_delivered.labels(webhook).inc(message.event_count)
        if message.first_at is not None:
            self.commit_to_delivery.labels(webhook).observe(max(0.0, time.time() - _seconds(message.first_at)))

    def gave_up(self, webhook: str) -> None:
        self.deliveries.labels(webhook, "dead_letter").inc()


def _kind(outcome: Outcome) -> str:
    if outcome.error is not None:
        return str(outcome.error)
    return f"{outcome.status // 100}xx" if outcome.status is not None else "other"


def _seconds(at: bytes) -> float:
    return datetime.fromisoformat(at.decode()).timestamp()
