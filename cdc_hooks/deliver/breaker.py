"""The circuit breaker of a webhook: when to hold back all of it, and when to try again. Pure; the clock is given.

*Closed*, requests go out. It *opens* when the endpoint is sick for certain; then one request at a time, after a pause
that grows, tries whether it is well again. A success closes it.

That single changes are refused for what they say tells nothing about an endpoint that takes others: it is trusted for
as many as it accepted just before. One that refuses all that comes is trusted for none.
"""

from __future__ import annotations

from dataclasses import dataclass

_BUCKETS = 6
_BUCKET_S = 10.0
_FEWEST = 20  # requests of which a failure rate is one
_MOST_TRUST = 500  # so many changes are set aside at most of an endpoint that begins to refuse all
_TRUST_S = 60.0  # after the last success


@dataclass(frozen=True)
class BreakerRules:
    """When it opens, and how long it waits. Times in seconds."""

    failures: int = 5
    """In a row."""
    rate: float = 0.8
    """Or this part of the requests of the last minute, of twenty at least."""
    pause_s: float = 10.0
    longest_pause_s: float = 300.0


class Breaker:
    """``now`` is of any clock that never goes back, in seconds."""

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self._in_a_row = 0
        self._suspects: set[str | None] = set()
        self._pause_s = 0.0
        self._tally = [(0, 0)] * _BUCKETS  # successes and failures of the last minute, in slices of ten seconds
        self._slice = 0
        self._trust = 0  # so many changes may be refused
        self._trusted_at = 0.0
        self.open_until: float | None = None
        """When the next request may try; None while closed."""

    @property
    def is_open(self) -> bool:
        return self.open_until is not None

    def succeeded(self, now: float, changes: int = 0) -> bool:
        """A request got through, and so many changes were accepted. Returns whether this closed the breaker."""
        self._trust, self._trusted_at = min(self._trust_at(now) + changes, _MOST_TRUST), now
        was_open, self.open_until = self.is_open, None
        self._in_a_row = 0
        if self._suspects:
            self._suspects.clear()
        if was_open:
            self._pause_s = 0.0
            self._tally = [(0, 0)] * _BUCKETS
        self._count(now, 1, 0)
        return was_open

    def failed(self, now: float, suspect: str | None = None, jitter: float = 0.0, *, probe: bool = False) -> bool:
        """A request failed. Returns whether this opened it.

        ``suspect`` names the batch that may be to blame itself, the same for all its parts: if only one batch fails so,
        the others need not wait. ``probe``: it only tried whether the endpoint is well again.
        """
        if self.is_open:
            if probe:  # others were under way when it opened, and tell nothing new
                self._wait(now, jitter)
            return False
        self._count(now, 0, 1)
        self._in_a_row += 1
        self._suspects.add(suspect)
        too_many = self._in_a_row >= self._rules.failures or self._often()
        opens = too_many and (None in self._suspects or len(self._suspects) > 1)
        if opens:
            self._wait(now, jitter)
        return opens

    def refused(self, now: float, jitter: float = 0.0, *, probe: bool = False) -> bool:
        """A change was refused for what it says. As ``failed``, where the endpoint is not trusted."""
        if self.is_open or not self._trust_at(now):
            return self.failed(now, None, jitter, probe=probe)
        self._trust -= 1
        return False

    def _trust_at(self, now: float) -> int:
        return self._trust if now - self._trusted_at < _TRUST_S else 0

    def _wait(self, now: float, jitter: float) -> None:
        rules = self._rules
        self._pause_s = min(self._pause_s * 2 or rules.pause_s, rules.longest_pause_s)
        self.open_until = now + self._pause_s * (1 + jitter)

    def _often(self) -> bool:
        bad = sum(bads for _, bads in self._tally)
        all_of_them = bad + sum(goods for goods, _ in self._tally)
        return all_of_them >= _FEWEST and bad >= self._rules.rate * all_of_them

    def _count(self, now: float, good: int, bad: int) -> None:
        this = int(now / _BUCKET_S)
        if this != self._slice:
            for gone in range(max(self._slice + 1, this - _BUCKETS + 1), this + 1):
                self._tally[gone % _BUCKETS] = (0, 0)
            self._slice = this
        goods, bads = self._tally[this % _BUCKETS]
        self._tally[this % _BUCKETS] = (goods + good, bads + bad)
