"""What the log says of one webhook's deliveries."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from cdc_hooks.deliver.policy import Drop, GiveUp, Pause, RetryAt, Split

if TYPE_CHECKING:
    from cdc_hooks.deliver.parcel import Parcel
    from cdc_hooks.deliver.policy import Decision

log = structlog.get_logger()


class Telling:
    """Of one webhook."""

    def __init__(self, webhook: str) -> None:
        self._webhook = webhook

    def delivered(self, parcel: Parcel, status: int | None) -> None:
        log.debug("delivered", **self._about(parcel), status=status)

    def failed(self, parcel: Parcel, status: int | None, error: str, decision: Decision) -> None:
        """What happened, and what follows."""
        about = {**self._about(parcel), "status": status, "error": error}
        match decision:
            case RetryAt(at):
                log.warning("attempt_failed", **about, retry_in_s=round(max(0.0, at - time.time()), 1))
            case Split():
                log.warning("split", **about)
            case GiveUp(reason):
                log.error("dead_letter", **about, reason=reason)
            case Drop(reason):
                log.error("dropped", **about, reason=reason)
            case Pause(reason):
                log.error("attempt_failed", **about, reason=reason)

    def held(self, parcel: Parcel) -> None:
        log.warning("held", **self._about(parcel), reason="an earlier change of its row was set aside")

    def not_understood(self, parcel: Parcel, complaint: str) -> None:
        """An acknowledgement, which counts as one of all."""
        log.warning("acknowledgement_not_understood", **self._about(parcel), reason=complaint, taken_for="all")

    def paused(self, why: str) -> None:
        hint = f"when it is mended, run: cdc-hooks resume {self._webhook}"
        log.error("paused", webhook=self._webhook, reason=why, hint=hint)

    def _about(self, parcel: Parcel) -> dict[str, object]:
        message = parcel.message
        return {
            "webhook": self._webhook,
            "message": message.id,
            "table": message.table,
            "action": str(message.action),
            "events": message.event_count,
            "attempt": parcel.attempts,
            **({"part_of": parcel.part_of} if parcel.part_of else {}),
        }
