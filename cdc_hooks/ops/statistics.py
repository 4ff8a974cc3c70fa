"""Sums about a webhook's requests: counted in memory, added up by the hour in the database. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

_MILLISECONDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 60_000)
BOUNDS_S = tuple(milliseconds / 1000 for milliseconds in _MILLISECONDS)


@dataclass(slots=True)
class Sums:
    """``seconds`` is the duration of all attempts together, ``longest`` that of the longest one; ``buckets`` count
    them by it, the last those beyond.
    """

    deliveries: int = 0
    attempts: int = 0
    failed: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))

    def attempted(self, duration_s: float, *, delivered: bool) -> None:
        self.attempts += 1
        self.failed += not delivered
        self.seconds += duration_s
        self.longest = max(self.longest, duration_s)
        self.buckets[bisect_left(BOUNDS_S, duration_s)] += 1

    @property
    def success_rate(self) -> float | None:
        """Of the attempts, from 0 to 1; None where there were none."""
        return 1 - self.failed / self.attempts if self.attempts else None

    @property
    def mean_s(self) -> float | None:
        return self.seconds / self.attempts if self.attempts else None

    def quantile_s(self, part: float) -> float | None:
        """Which duration this part of the attempts did not exceed. Between the bounds of a bucket it is a guess, and
        never more than the longest took.
        """
        rank, below = part * sum(self.buckets), 0
        for number, count in enumerate(self.buckets):
            if count and below + count >= rank:
                low = BOUNDS_S[number - 1] if number else 0.0
                high = min([self.longest, *BOUNDS_S[number : number + 1]])
                return low + max(0.0, high - low) * max(0.0, rank - below) / count
            below += count
        return None


def total(sums: Iterable[Sums]) -> Sums:
    """All of them together."""
    of_all = Sums()
    for one in sums:
        of_all.deliveries += one.deliveries
        of_all.attempts += one.attempts
        of_all.failed += one.failed
        of_all.seconds += one.seconds
        of_all.longest = max(of_all.longest, one.longest)
        of_all.buckets = [a + b for a, b in zip(of_all.buckets, one.buckets, strict=True)]
    return of_all
