"""What may be told now, given what was told when. Pure: the time is an argument, in seconds of a monotonic clock.

Of each cause and webhook at most one notice is told in an interval. What happens meanwhile is counted, and the latest
of it told when the interval is over. SICK and PAUSED are troubles that end with RECOVERED. That is told only if the
trouble was; then the next outage is news again and not a repeat, and is told as soon as an interval has passed since
the last one *began*. A webhook that flaps is told of as one outage and one recovery in an interval.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from cdc_hooks.model import Cause

TROUBLES = (Cause.SICK, Cause.PAUSED)
MOST_ENTRIES = 4096

Key = tuple[Cause, str | None]


class Occurrence(NamedTuple):
    """One thing that happened: in words, what to do, and when (seconds since 1970)."""

    what: str
    hint: str
    at: float


class Told(NamedTuple):
    """What is to be told: the latest occurrence, and how many more there were since a time (seconds since 1970)."""

    cause: Cause
    webhook: str | None
    occurrence: Occurrence
    repeated: int = 0
    since: float | None = None


@dataclass(slots=True)
class _Entry:
    """What is known of one cause at one webhook. Times by the monotonic clock, but for ``since``."""

    told: float
    """What the interval is measured from."""
    began: float
    """When the trouble that is told of, or was last, was told first."""
    lasting: bool = False
    """A trouble that was told, with no recovery told since."""
    waiting: Occurrence | None = None
    count: int = 0
    """Occurrences since the last one that was told, the waiting one among them."""
    since: float | None = None


class Book:
    """What was told, and what waits for the end of an interval. Of more than ``most`` causes at webhooks that are told
    of within an interval, and the recoveries of these, nothing is known or told.
    """

    def __init__(self, interval_s: float, on: Collection[Cause], most: int = MOST_ENTRIES) -> None:
        self.interval_s = interval_s
        self.on = frozenset(on)
        self._most = most
        self._entries: dict[Key, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def occurred(self, cause: Cause, webhook: str | None, occurrence: Occurrence, now: float) -> Told | None:
        """What is to be told of it now, if anything."""
        if cause not in self.on:
            return None
        if cause is Cause.RECOVERED:
            for trouble in self._of(webhook, TROUBLES):
                trouble.waiting = None  # it is over
            if not self._lasting(webhook):
                return None
        elif cause in TROUBLES:
            for recovery in self._of(webhook, (Cause.RECOVERED,)):
                recovery.waiting = None  # it is no longer true
        return self._offer((cause, webhook), occurrence, now)

    def due(self, now: float) -> list[Told]:
        """What has waited for the end of its interval."""
        over = [
            (key, entry.waiting)
            for key, entry in self._entries.items()
            if entry.waiting is not None and self._is_over(entry, now)
        ]
        return [self._tell(key, waiting, now, itself=1) for key, waiting in over]

    def next_due(self) -> float | None:
        """When ``due`` has something to tell."""
        waiting = [entry.told for entry in self._entries.values() if entry.waiting is not None]
        return min(waiting) + self.interval_s if waiting else None

    def configure(self, interval_s: float, on: Collection[Cause], webhooks: Collection[str]) -> None:
        """Go on with another configuration: what it does not have is forgotten."""
        self.interval_s, self.on = interval_s, frozenset(on)
        self._entries = {
            (cause, webhook): entry
            for (cause, webhook), entry in self._entries.items()
            if cause in self.on and (webhook is None or webhook in webhooks)
        }

    def stand_by(self) -> None:
        """Another daemon may lead from now on: how the webhooks are is for that one to tell."""
        for (cause, _), entry in self._entries.items():
            if cause in TROUBLES or cause is Cause.RECOVERED:
                entry.waiting = None

    def _offer(self, key: Key, occurrence: Occurrence, now: float) -> Told | None:
        entry = self._entries.get(key)
        if entry is None:
            # A recovery has its room from its trouble.
            has_room = key[0] is Cause.RECOVERED or self._has_room(now)
            return self._tell(key, occurrence, now) if has_room else None
        if self._is_over(entry, now):
            return self._tell(key, occurrence, now)
        entry.waiting = occurrence
        entry.count += 1
        if entry.since is None:
            entry.since = occurrence.at
        return None

    def _tell(self, key: Key, occurrence: Occurrence, now: float, *, itself: int = 0) -> Told:
        """``itself``: the occurrence is among those that were counted."""
        cause, webhook = key
        entry = self._entries.setdefault(key, _Entry(told=now, began=now))
        repeated = entry.count - itself
        told = Told(cause, webhook, occurrence, repeated, entry.since if repeated else None)
        entry.waiting, entry.count, entry.since, entry.told = None, 0, None, now
        if cause in TROUBLES:
            entry.began = entry.began if entry.lasting else now
            entry.lasting = True
        elif cause is Cause.RECOVERED:
            over = self._lasting(webhook)
            entry.told = min([now, *(trouble.began for trouble in over)])
            for trouble in over:
                trouble.lasting, trouble.told = False, trouble.began
        return told

    def _is_over(self, entry: _Entry, now: float) -> bool:
        return now >= entry.told + self.interval_s

    def _of(self, webhook: str | None, causes: Collection[Cause]) -> list[_Entry]:
        return [self._entries[cause, webhook] for cause in causes if (cause, webhook) in self._entries]

    def _lasting(self, webhook: str | None) -> list[_Entry]:
        return [trouble for trouble in self._of(webhook, TROUBLES) if trouble.lasting]

    def _has_room(self, now: float) -> bool:
        if len(self._entries) >= self._most:
            self._entries = {
                key: entry
                for key, entry in self._entries.items()
                if entry.lasting or entry.waiting is not None or not self._is_over(entry, now)
            }
        return len(self._entries) < self._most
