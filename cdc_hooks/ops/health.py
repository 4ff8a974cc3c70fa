"""What becomes of each webhook's messages: counted in metrics, and kept for ``status`` in the database."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cdc_hooks.deliver.storable import storable
from cdc_hooks.model import Cause
from cdc_hooks.ops.metrics import WebhookMetrics
from cdc_hooks.ops.statistics import Sums

if TYPE_CHECKING:
    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.model import Gap, Message
    from cdc_hooks.ops.metrics import Metrics
    from cdc_hooks.ops.notices import Notices


@dataclass(slots=True)
class Watched:
    """A webhook's metrics, and what is new about it since it was last written. Times in seconds since 1970."""

    metrics: WebhookMetrics
    state: str = "active"
    delivered: int = 0
    last_success_at: float | None = None
    last_error_at: float | None = None
    last_error: str | None = None
    changed: bool = True
    in_trouble: bool = False
    """Paused or held back, and nothing has got through since."""
    sums: Sums = field(default_factory=Sums)

    def turn(self, state: str) -> None:
        """Be in a state from now on."""
        self.changed = True
        if state != self.state:
            self.state = state
            self.metrics.is_in(state)

    def take(self, server_encoding: str) -> dict[str, Any]:
        """The parameters to write it with; what is taken counts as written."""
        taken = {
            "state": self.state,
            "delivered": self.delivered,
            "last_success_at": _time(self.last_success_at),
            "last_error_at": _time(self.last_error_at),
            "last_error": self.last_error and storable(self.last_error, server_encoding),
        }
        self.delivered, self.changed = 0, False
        return taken


class Health:
    """The observer of all couriers. Writes nothing by itself: ``take`` gives what there is to write."""

    def __init__(self, metrics: Metrics, notices: Notices) -> None:
        self._metrics = metrics
        self._notices = notices
        self._watched: dict[str, Watched] = {}

    def watch(self, webhook: str) -> None:
        """Begin to watch a webhook, or begin again: its metrics exist from now on, and it is active."""
        watched = self._watched.get(webhook)
        if watched is None:
            watched = self._watched[webhook] = Watched(WebhookMetrics(self._metrics, webhook))
        watched.turn("active")
        watched.metrics.is_in("active")

    def forget(self, webhook: str) -> None:
        """A webhook is no longer configured."""
        watched = self._watched.pop(webhook, None)
        if watched is not None:
            watched.metrics.forget()

    def attempted(self, webhook: str, outcome: Outcome, *, delivered: bool) -> None:
        watched = self._watched[webhook]
        watched.metrics.attempted(outcome, delivered=delivered)
        watched.sums.attempted(outcome.duration_s, delivered=delivered)

    def delivered(self, webhook: str, message: Message) -> None:
        watched = self._watched[webhook]
        if watched.in_trouble:
            watched.in_trouble = False
            self._notices.tell(Cause.RECOVERED, webhook, "requests get through again", "nothing is to be done")
        watched.metrics.delivered(message)
        watched.delivered += message.event_count
        watched.sums.deliveries += 1
        watched.last_success_at = time.time()
        watched.changed = True

    def accepted(self, webhook: str, events: int) -> None:
        """Events of a batch of which others were refused."""
        watched = self._watched[webhook]
        watched.metrics.accepted(events)
        watched.delivered += events

    def failing(self, webhook: str, error: str) -> None:
        watched = self._watched[webhook]
        watched.last_error, watched.last_error_at = error, time.time()
        watched.changed = True

    def gave_up(self, webhook: str, message: Message, reason: str, *, dropped: bool) -> None:
        self._watched[webhook].metrics.gave_up(dropped=dropped)
        if not dropped:
            events = f"{message.event_count} change{'' if message.event_count == 1 else 's'}"
            what = f"delivery {message.id} with {events} of {message.table} is a dead letter now: {reason}"
            self._notices.tell(
                Cause.DEAD_LETTER, webhook, what, "it is kept, until it is resent or deleted: cdc-hooks deliveries list"
            )

    def missed(self, webhook: str, gap: Gap) -> None:
        """A range of the log that a webhook may not have got."""
        what = f"it may not have got the changes after {gap.after_id} up to {gap.upto_id} of the log: {gap.reason}"
        hint = "its receiver is told, too; compare its data with the tables"
        self._notices.tell(Cause.GAP, webhook, what, hint)

    def turned(self, webhook: str, state: str, why: str | None) -> None:
        watched = self._watched[webhook]
        if state != watched.state and state in {"open", "paused"}:
            watched.in_trouble = True
            self._tell_of(webhook, state, why or watched.last_error or "")
        watched.turn(state)

    def _tell_of(self, webhook: str, state: str, why: str) -> None:
        match state:
            case "paused":
                self._notices.tell(Cause.PAUSED, webhook, why, f"when it is mended, run: cdc-hooks resume {webhook}")
            case "open":
                what = f"its endpoint is sick: {why}; all is held back, and its place is kept"
                self._notices.tell(Cause.SICK, webhook, what, "nothing is lost; look at the endpoint")

    def take(self, server_encoding: str = "UTF8") -> dict[str, dict[str, Any]]:
        """By webhook, the parameters to write it with, in texts that such a server can store."""
        return {webhook: watched.take(server_encoding) for webhook, watched in self._watched.items() if watched.changed}

    def take_sums(self) -> dict[str, Sums]:
        """By webhook, what there is to add to the sums of this hour; what is taken counts as written."""
        taken = {webhook: watched.sums for webhook, watched in self._watched.items() if watched.sums.attempts}
        for webhook in taken:
            self._watched[webhook].sums = Sums()
        return taken


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
