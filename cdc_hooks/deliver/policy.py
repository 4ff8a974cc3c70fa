"""What to do after an attempt: a pure decision from (policy, attempts made, outcome, now, random).

``decide`` is the only place that knows what an outcome means. What it does not do yet, and where it will:

- 429, 502, 503, 504, timeouts and connection errors mean that the endpoint is sick, not the batch: a circuit breaker
  holds back the whole webhook (a decision of its own beside ``RetryAt``).
- 400, 422, or one batch failing while others get through: bisect to the poisonous change (``Split`` into halves).
- 413: ``Split``, down to a single change.
- 410: ``Pause`` the webhook and keep its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from cdc_hooks.deliver.outcome import Failure, Outcome


@dataclass(frozen=True)
class Policy:
    """How often and when a webhook's failed deliveries are tried again."""

    schedule_s: tuple[float, ...]
    """The wait after the first failed attempt, after the second, …; after one more failure it is given up on."""
    jitter: float = 0.2
    """Up to this part of a wait is added to it at random, so that many deliveries do not come back at one moment."""
    retry_after_cap_s: float = 12 * 3600
    """A receiver cannot ask for a longer wait than this."""


@dataclass(frozen=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True)
class RetryAt:
    """Try again at this time (seconds since 1970)."""

    at: float


@dataclass(frozen=True)
class GiveUp:
    """Do not try again, and why."""

    reason: str


Decision = Delivered | RetryAt | GiveUp


def decide(policy: Policy, attempts_made: int, outcome: Outcome, now: float, random: float) -> Decision:
    """``attempts_made`` counts this one, too; ``now`` in seconds since 1970; ``random`` in [0, 1)."""
    if outcome.ok:
        return Delivered()
    if attempts_made > len(policy.schedule_s):
        times = "1 attempt" if attempts_made == 1 else f"{attempts_made} attempts"
        return GiveUp(f"given up on after {times}: {classify(outcome)}")
    wait = policy.schedule_s[attempts_made - 1] * (1 + policy.jitter * random)
    asked = min(retry_after_s(outcome.retry_after, now), policy.retry_after_cap_s)
    return RetryAt(now + max(wait, asked))


def retry_after_s(header: str | None, now: float) -> float:
    """The wait that a Retry-After header asks for: seconds, or an HTTP date; 0 for anything else."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
        # A date without a zone ("-0000") means UTC here as in HTTP, and not the zone of this machine.
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0
    return max(0.0, at - now)


def classify(outcome: Outcome) -> str:
    """What happened, in words: for the ledger, the log and ``status``."""
    match outcome.error:
        case None:
            return f"answered {outcome.status}"
        case Failure.REDIRECT:
            return f"redirected to {outcome.location} (redirects are not followed)"
        case Failure.TLS:
            return f"TLS: {outcome.detail}"
        case Failure.PROTOCOL:
            return f"not an HTTP answer: {outcome.detail}"
        case _:
            return outcome.detail
