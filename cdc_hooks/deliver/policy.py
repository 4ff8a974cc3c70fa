"""What to do after an attempt: a pure decision from (policy, history, outcome, now, random).

``decide`` is the only place that knows what an outcome means. Whether the whole webhook is held back meanwhile is for
the breaker (``breaker.py``) to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Literal, NamedTuple

from cdc_hooks.deliver.outcome import Failure, Outcome

OnExhausted = Literal["dead_letter", "pause", "drop"]

BISECT_AFTER = 3
"""After so many failures a batch that may be to blame itself is split; a single change of which others get through is
set aside."""


class Fault(Enum):
    """Whose fault it is that an attempt was no success."""

    ENDPOINT = auto()
    """The endpoint is sick, or not what it should be, whatever it is sent."""
    CONTENT = auto()
    """It refuses what the batch says."""
    SIZE = auto()
    """It refuses that much."""
    GONE = auto()
    """It asks to be left alone."""
    UNCLEAR = auto()
    """It may be either."""
    WAY = auto()
    """The request did not get out of our own network."""


_BY_STATUS = {400: Fault.CONTENT, 422: Fault.CONTENT, 413: Fault.SIZE, 410: Fault.GONE}
# 401, 405, 407: the request as such, not what is in it. 52x are Cloudflare's words for a sick origin.
_SICK = frozenset({401, 405, 407, 408, 425, 429, 431, 502, 503, 504, 507, *range(520, 531)})
_OUR_OWN = frozenset({Failure.PROXY, Failure.FORBIDDEN})


@dataclass(frozen=True)
class Policy:
    """What counts as a success; how often and when failed deliveries are tried again; and what then."""

    schedule_s: tuple[float, ...]
    """The wait after the first failed attempt, after the second, …; the last one repeats."""
    max_attempts: int | None = None
    """None: one more than there are waits."""
    jitter: float = 0.2
    """Up to this part of a wait is added to it at random, so that many deliveries do not come back at one moment."""
    retry_after_cap_s: float = 3600.0
    """A receiver cannot ask for a longer wait than this."""
    success: frozenset[int] = frozenset(range(200, 300))
    on_exhausted: OnExhausted = "dead_letter"
    bisect: bool = True
    """Whether to look for the change that is to blame. If not, a batch that is refused is a failure like all others."""
    patience_s: float | None = None
    """Where a breaker takes care of a sick endpoint: attempts that fail for it do not count, and the waits between them
    are at most this long. None: they count like all others."""

    @property
    def most_attempts(self) -> int:
        return self.max_attempts or len(self.schedule_s) + 1

    @property
    def longest_wait_s(self) -> float:
        """No wait for another attempt is longer."""
        return max(*self.schedule_s, self.retry_after_cap_s, self.patience_s or 0.0) * (1 + self.jitter)


class History(NamedTuple):
    """What a batch has been through."""

    attempts: int
    """This one included."""
    counted: int
    """How many of those before this one count against it."""
    events: int
    others_get_through: bool
    """Whether other batches do, mostly, since this one first failed."""
    probing: bool = False
    """Whether this attempt only tried if the endpoint is well again."""
    failures: int = 0
    """How often it failed before this attempt, since the endpoint was last well again."""
    due: bool = True
    """Whether this attempt was due by the schedule; one that only probes may come earlier."""


@dataclass(frozen=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True)
class RetryAt:
    """Try again at this time (seconds since 1970). ``counts``: the attempt counts against the batch."""

    at: float
    counts: bool = True
    due: float = 0.0
    """When the schedule wants the next attempt that counts."""


@dataclass(frozen=True)
class Split:
    """Send it as two halves: smaller, or to find the one change that is to blame."""


@dataclass(frozen=True)
class GiveUp:
    """Set it aside, and why. ``rejected``: the receiver refuses it as it is, trying again would not help."""

    reason: str
    rejected: bool = False


@dataclass(frozen=True)
class Drop:
    """Forget it, and why."""

    reason: str


@dataclass(frozen=True)
class Pause:
    """Stop the webhook, its place kept, and why."""

    reason: str


Decision = Delivered | RetryAt | Split | GiveUp | Drop | Pause


def fault_of(outcome: Outcome) -> Fault:
    """Of an outcome that is no success."""
    if outcome.error in _OUR_OWN:
        return Fault.WAY
    if outcome.error is not None:
        return Fault.UNCLEAR if outcome.error is Failure.OTHER else Fault.ENDPOINT
    status = outcome.status or 0
    if status < 400 or status in _SICK:  # also a success that is not wanted here, such as 204
        return Fault.ENDPOINT
    return _BY_STATUS.get(status, Fault.UNCLEAR)


def decide(policy: Policy, history: History, outcome: Outcome, now: float, random: float) -> Decision:
    """``now`` in seconds since 1970; ``random`` in [0, 1)."""
    if outcome.status in policy.success:
        return Delivered()
    fault = fault_of(outcome)
    tried = history.failures + 1 >= BISECT_AFTER
    last = history.counted + 1 >= policy.most_attempts
    # A row at which the receiver breaks may look like a sick endpoint: in the end this is tried, too.
    at_last = policy.patience_s is not None and history.failures + 1 >= 2 * BISECT_AFTER
    match fault:
        case Fault.GONE:
            return Pause(classify(outcome))
        case Fault.SIZE if history.events > 1:
            return Split()
        case _ if not policy.bisect:
            pass
        case Fault.CONTENT | Fault.SIZE:
            return Split() if history.events > 1 else GiveUp(classify(outcome), rejected=True)
        case Fault.UNCLEAR if history.events > 1 and (tried or (last and history.others_get_through)):
            return Split()
        case Fault.ENDPOINT if history.events > 1 and at_last:
            return Split()
        case Fault.UNCLEAR | Fault.ENDPOINT if history.others_get_through and (
            at_last or (tried and fault is Fault.UNCLEAR and not history.probing)
        ):
            return GiveUp(f"{classify(outcome)}, while others get through", rejected=True)
    return again(policy, history, outcome, now, random, of_endpoint=fault in {Fault.ENDPOINT, Fault.WAY})


def again(
    policy: Policy, history: History, outcome: Outcome, now: float, random: float, *, of_endpoint: bool = False
) -> Decision:
    """Try again on schedule, or what follows when the attempts are used up."""
    of_endpoint = of_endpoint and policy.patience_s is not None
    patient = of_endpoint or (history.probing and not history.due)
    if not patient and history.counted + 1 >= policy.most_attempts:
        times = "1 attempt" if history.attempts == 1 else f"{history.attempts} attempts"
        reason = f"given up on after {times}: {classify(outcome)}"
        match policy.on_exhausted:
            case "dead_letter":
                return GiveUp(reason)
            case "pause":
                return Pause(reason)
            case "drop":
                return Drop(reason)
    schedule = policy.schedule_s or (policy.patience_s or 0.0,)
    number = history.attempts if of_endpoint else history.counted + 1
    scheduled = schedule[min(number, len(schedule)) - 1]
    wait = min(scheduled, policy.patience_s) if of_endpoint and policy.patience_s is not None else scheduled
    if history.probing:
        wait = 0.0  # who may try again, and when, is for the gate to say
    wait *= 1 + policy.jitter * random
    wait = max(wait, asked_s(policy, outcome, now))
    return RetryAt(now + wait, counts=not patient, due=now + scheduled)


def asked_s(policy: Policy, outcome: Outcome, now: float) -> float:
    """How long the receiver asks to be left alone, in seconds, as far as that is respected."""
    return min(retry_after_s(outcome.retry_after, now), policy.retry_after_cap_s)


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
        case Failure.FORBIDDEN:
            return f"refused: {outcome.detail}"
        case Failure.PROXY:
            return f"proxy: {outcome.detail}"
        case _:
            return outcome.detail
