"""What a receiver says about single events in the body of a success: ``{"failed": ["1-4711", …]}``. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Acknowledgement:
    """``failed``: ids of the changes to send again. ``complaint``: why the answer was not understood, if it was not."""

    failed: frozenset[int] = frozenset()
    complaint: str | None = None


def read(body: bytes, sent: Collection[int], *, complete: bool) -> Acknowledgement:
    """An answer without a body, or JSON that does not speak of ``failed``, acknowledges all; so does a malformed one.

    ``sent``: the ids of the batch's changes, which the answer names as events, ``EPOCH-ID``. ``complete``: whether
    ``body`` is all of it.
    """
    if not body.strip():
        return Acknowledgement()
    if not complete:
        return Acknowledgement(complaint="the body did not come to its end, or is longer than 16 KiB")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return Acknowledgement(complaint="the body is not JSON")
    failed = said.get("failed", []) if isinstance(said, dict) else []
    if not isinstance(failed, list) or not all(isinstance(one, str) for one in failed):
        return Acknowledgement(complaint="failed is not a list of event ids")
    by_number = {str(change_id): change_id for change_id in sent}
    named = {one: by_number.get(one.rpartition("-")[2]) for one in failed}
    for one, change_id in named.items():
        if change_id is None:
            return Acknowledgement(complaint=f"failed names {one[:100]!r}, which is no event of this batch")
    return Acknowledgement(frozenset(change_id for change_id in named.values() if change_id is not None))
