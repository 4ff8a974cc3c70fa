"""Asks the policy about a parcel, knowing what became of the others. Pure: time and chance are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cdc_hooks.deliver import acknowledgement
from cdc_hooks.deliver.parcel import Parcel, Standing
from cdc_hooks.deliver.policy import Decision, Delivered, Fault, History, Policy, again, decide, fault_of

if TYPE_CHECKING:
    from cdc_hooks.deliver.outcome import Outcome

_MOSTLY = 3  # others get through if they succeed more than three times as often as they fail


class Verdict(NamedTuple):
    """What is left to deliver, and what to do with it."""

    parcel: Parcel
    decision: Decision
    fault: Fault | None
    """None: the receiver answered with a success."""
    complaint: str | None = None
    """Why the acknowledgement was not understood, if it was not."""


class Judge:
    """Of one webhook.

    ``partial_ack``: successes may name events that failed; ``keep_order``: later changes of their rows go again, too.
    """

    def __init__(self, policy: Policy, *, partial_ack: bool = False, keep_order: bool = True) -> None:
        self.policy = policy
        self._partial_ack = partial_ack
        self._keep_order = keep_order
        self._standing = Standing()
        self._recoveries = 0
        self._recovered_at = Standing()

    def judge(
        self,
        parcel: Parcel,
        outcome: Outcome,
        now: float,
        chance: float,
        *,
        probing: bool,
        due: bool = True,
        recoveries: int = 0,
    ) -> Verdict:
        """``now`` in seconds since 1970. ``probing``: the attempt only tried if the endpoint is well again; ``due``: it
        was due by the parcel's own schedule; ``recoveries``: how often the endpoint has become well again so far.
        """
        if recoveries != self._recoveries:
            # The success that ended the outage counts, what failed in it does not.
            self._recoveries, self._recovered_at = recoveries, self._standing._replace(good=self._standing.good - 1)
        if recoveries != parcel.recoveries:
            parcel.recovered(recoveries, self._recovered_at)
        others = self._others_get_through(parcel)
        history = History(parcel.attempts, parcel.counted, parcel.events, others, probing, parcel.failures, due)
        decision = decide(self.policy, history, outcome, now, chance)
        good, bad = self._standing
        if not isinstance(decision, Delivered):
            if parcel.first_failed_at is None:
                parcel.first_failed_at = self._standing
            parcel.own_failures += 1
            parcel.failures += 1
            self._standing = Standing(good, bad + 1)
            return Verdict(parcel, decision, fault_of(outcome))
        self._standing = Standing(good + 1, bad)
        if not self._partial_ack or parcel.batch is None:
            return Verdict(parcel, decision, None)
        said = acknowledgement.read(outcome.body, parcel.change_of_event(), complete=outcome.complete)
        if not said.failed:
            return Verdict(parcel, decision, None, said.complaint)
        left = parcel.only(parcel.with_later(said.failed) if self._keep_order else said.failed)
        return Verdict(left, again(self.policy, history, outcome, now, chance), None)

    def _others_get_through(self, parcel: Parcel) -> bool:
        if parcel.first_failed_at is None:
            return False
        good = self._standing.good - parcel.first_failed_at.good
        bad = self._standing.bad - parcel.first_failed_at.bad - parcel.own_failures
        return good > 0 and good > _MOSTLY * bad
