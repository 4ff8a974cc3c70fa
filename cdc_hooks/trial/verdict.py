"""What the answer to a test would have meant for a real delivery, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urljoin

from cdc_hooks.deliver import acknowledgement
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import (
    Delivered,
    Drop,
    GiveUp,
    History,
    Pause,
    Policy,
    RetryAt,
    Split,
    classify,
    decide,
)


class Verdict(NamedTuple):
    delivered: bool
    words: str


def judge(policy: Policy, events: Sequence[str], outcome: Outcome, now: float, *, partial_ack: bool) -> Verdict:
    """What a daemon would do after this outcome of a first attempt; ``now`` in seconds since 1970."""
    what = classify(outcome)
    match decide(policy, History(1, 0, len(events), others_get_through=False), outcome, now, 0.0):
        case Delivered():
            return _acknowledged(events, outcome) if partial_ack else Verdict(delivered=True, words=_DELIVERED)
        case RetryAt(at=at):
            return Verdict(delivered=False, words=f"would be tried again after {_span(at - now)}: {what}")
        case Split():
            return Verdict(delivered=False, words=f"would be sent again in two halves: {what}")
        case GiveUp():
            return Verdict(delivered=False, words=f"would be kept as a dead letter, and not be tried again: {what}")
        case Drop():
            return Verdict(delivered=False, words=f"would be dropped, and not be tried again: {what}")
        case Pause():
            return Verdict(delivered=False, words=f"would pause the webhook: {what}")


_DELIVERED = "would count as delivered"


def _acknowledged(events: Sequence[str], outcome: Outcome) -> Verdict:
    sent = {event: number for number, event in enumerate(events)}
    said = acknowledgement.read(outcome.body, sent, complete=outcome.complete)
    if said.failed:
        of = f"{len(said.failed)} of {len(events)} events"
        return Verdict(delivered=False, words=f"{of} would be sent again: the answer names them as failed")
    warning = f", with a warning: {said.complaint}" if said.complaint else ""
    return Verdict(delivered=True, words=_DELIVERED + warning)


def advice(outcome: Outcome, url: str, fingerprints: Sequence[str], total_timeout_s: float) -> str | None:
    """What to look at after a failure, in a sentence, where the failure says so much."""
    match outcome.error:
        case Failure.REDIRECT:
            return f"write the address that it redirects to as url: {urljoin(url, outcome.location or '')}"
        case Failure.TLS:
            return (
                "look at the receiver's certificate: its name, its dates, and who signed it; for a private authority, "
                "give its certificate as ca_file"
            )
        case Failure.TIMEOUT:
            return (
                "a receiver answers as soon as it has the batch safely, and works on it afterwards; "
                f"the limit is {total_timeout_s:g} s (timeout.total)"
            )
        case Failure.CONNECT:
            return "look whether the receiver runs, and whether this machine reaches it: name, port, firewall"
        case Failure.RESET | Failure.PROTOCOL:
            return "look what answers at this address: perhaps it wants https:// instead of http://, or the reverse"
        case Failure.FORBIDDEN:
            return "if requests may go there, name its network or host in network.allow"
        case Failure.PROXY:
            return "look at the proxy, not at the receiver: the request did not get to it"
        case None:
            return _of_status(outcome.status or 0, fingerprints)
        case _:
            return None


def _of_status(status: int, fingerprints: Sequence[str]) -> str | None:
    if status in {401, 403}:
        which = " and ".join(fingerprints)
        return (
            f"does the receiver check the signature with the same secret (here: fingerprint {which}), over the bytes "
            "of the body as they came? Does it want a token or a key (auth)? Is its clock right?"
        )
    if status in {404, 405}:
        return "is the path of url right, and does the receiver take POST there?"
    if status == 413:
        return "lower batch.max_bytes or batch.max_events, or raise the receiver's limit"
    if status in {400, 415, 422}:
        return "look what the receiver's log says of this request: it does not take the body as it is"
    return "look what the receiver's log says of this request" if status >= 500 else None


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
