"""What becomes of each webhook's messages: counted in metrics, and kept for ``status`` in the database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.model import Message
    from cdc_hooks.ops.metrics import Metrics

STATES = ("active", "retrying")


@dataclass(slots=True)
class Note:
    """What is new about a webhook since it was last written. Times in seconds since 1970."""

    state: str = "active"
    delivered: int = 0
    last_success_at: float | None = None
    last_error_at: float | None = None
    last_error: str | None = None
    changed: bool = True


class Health:
    """The observer of all couriers. Writes nothing by itself: ``take`` gives what there is to write."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._notes: dict[str, Note] = {}

    def watch(self, webhook: str) -> None:
        """Begin to watch a webhook: its metrics exist from now on."""
        self._notes.setdefault(webhook, Note())
        self._metrics.changes_delivered.labels(webhook)
        for outcome in ("delivered", "dead_letter"):
            self._metrics.deliveries.labels(webhook, outcome)
        self._set_state(webhook, "active")

    def forget(self, webhook: str) -> None:
        """A webhook is no longer configured."""
        self._notes.pop(webhook, None)
        for state in STATES:
            self._metrics.state.remove(webhook, state)
        for gauge in (self._metrics.backlog, self._metrics.lag, self._metrics.dead_letters):
            if (webhook,) in gauge._metrics:  # noqa: SLF001 - the library has no other way to ask
                gauge.remove(webhook)

    def attempted(self, webhook: str, outcome: Outcome, *, delivered: bool) -> None:
        self._metrics.attempted(webhook, outcome, delivered=delivered)

    def delivered(self, webhook: str, message: Message) -> None:
        self._metrics.delivered(webhook, message)
        note = self._notes[webhook]
        note.delivered += message.event_count
        note.last_success_at = time.time()
        note.changed = True
        self._set_state(webhook, "active")

    def failing(self, webhook: str, error: str) -> None:
        note = self._notes[webhook]
        note.last_error, note.last_error_at, note.changed = error, time.time(), True
        self._set_state(webhook, "retrying")

    def gave_up(self, webhook: str, message: Message) -> None:
        self._metrics.gave_up(webhook)
        self._notes[webhook].changed = True
        self._set_state(webhook, "active")

    def take(self) -> dict[str, dict[str, Any]]:
        """By webhook, the parameters to write it with; what is taken counts as written."""
        taken = {}
        for webhook, note in self._notes.items():
            if note.changed:
                taken[webhook] = {
                    "state": note.state,
                    "delivered": note.delivered,
                    "last_success_at": _time(note.last_success_at),
                    "last_error_at": _time(note.last_error_at),
                    "last_error": note.last_error and note.last_error.replace("\0", "\ufffd"),
                }
                note.delivered, note.changed = 0, False
        return taken

    def _set_state(self, webhook: str, state: str) -> None:
        note = self._notes[webhook]
        note.state = state
        for other in STATES:
            self._metrics.state.labels(webhook, other).set(other == state)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
