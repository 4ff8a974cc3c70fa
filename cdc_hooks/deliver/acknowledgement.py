"""What a receiver says about single events in the body of a success: ``{"failed": ["1-4711", …]}``. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

_BYTES_EACH = 256
_BYTES_BESIDE = 16 * 1024


@dataclass(frozen=True)
class Acknowledgement:
    """``failed``: ids of the changes to send again. ``complaint``: why the answer was not understood, if it was not."""

    failed: frozenset[int] = frozenset()
    complaint: str | None = None


def longest(events: int) -> int:
    """Bytes of an answer to a batch of so many events: far more than it takes to name all of them."""
    return _BYTES_BESIDE + _BYTES_EACH * events


def failed_events(answer: bytes, sent: bytes, *, complete: bool) -> tuple[int, int]:
    """How many events the answer to a body names as failed, and how many there are."""
    events = [item["eventId"] for item in json.loads(sent)["items"]]
    said = read(answer, {event: n for n, event in enumerate(events)}, complete=complete)
    return len(said.failed), len(events)


def read(body: bytes, sent: Mapping[str, int], *, complete: bool) -> Acknowledgement:
    """An answer without a body, or JSON that does not speak of ``failed``, acknowledges all; so does a malformed one.

    ``sent``: the batch's changes by the ids of their events. ``complete``: whether ``body`` is all of it.
    """
    if not complete:
        return Acknowledgement(complaint="the body did not come to its end, or is too long")
    if not body.strip():
        return Acknowledgement()
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return Acknowledgement(complaint="the body is not JSON")
    failed = said.get("failed", []) if isinstance(said, dict) else []
    if not isinstance(failed, list) or not all(isinstance(one, str) for one in failed):
        return Acknowledgement(complaint="failed is not a list of event ids")
    strangers = [one for one in failed if one not in sent]
    if strangers:
        return Acknowledgement(complaint=f"failed names {strangers[0][:100]!r}, which is no event of this batch")
    return Acknowledgement(frozenset(sent[one] for one in failed))
