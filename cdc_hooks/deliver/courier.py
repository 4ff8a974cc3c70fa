"""Delivering the batches of one webhook: attempt, ask the policy, wait, split, attempt again, until it is finished."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from cdc_hooks.changelog.connection import ConnectionLost
from cdc_hooks.deliver.gate import Gate
from cdc_hooks.deliver.held import HeldRows
from cdc_hooks.deliver.ledger import Attempt, Unfinished
from cdc_hooks.deliver.parcel import Parcel
from cdc_hooks.deliver.policy import Delivered, Drop, Fault, GiveUp, Pause, RetryAt, Split, asked_s, classify
from cdc_hooks.deliver.sign import sign
from cdc_hooks.deliver.telling import Telling
from cdc_hooks.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Sequence

    from cdc_hooks.changelog.lease import Lease
    from cdc_hooks.deliver.controls import Controls
    from cdc_hooks.deliver.gate import GateRules
    from cdc_hooks.deliver.judge import Judge
    from cdc_hooks.deliver.ledger import WebhookLedger
    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.deliver.parcel import Render
    from cdc_hooks.deliver.policy import Decision
    from cdc_hooks.deliver.post import Sender
    from cdc_hooks.deliver.sign import Key
    from cdc_hooks.model import Batch, Message

_LETTERS = frozenset({"held", "rejected", "dead"})
_FINISHED = _LETTERS | {"part"}
_REWRITE_S = 2.0
"""Before the ledger is asked again for what must not be passed over, such as a dead letter."""

T = TypeVar("T")


class Observer(Protocol):
    """Who wants to know what becomes of a webhook's batches (metrics, status)."""

    def attempted(self, webhook: str, outcome: Outcome, *, delivered: bool) -> None: ...
    def delivered(self, webhook: str, message: Message) -> None: ...
    def accepted(self, webhook: str, events: int) -> None: ...
    def failing(self, webhook: str, error: str) -> None: ...
    def gave_up(self, webhook: str, message: Message, reason: str, *, dropped: bool) -> None: ...
    def turned(self, webhook: str, state: str, why: str | None) -> None: ...


class Courier:
    """Delivers the batches of one webhook; several at once, each by itself."""

    def __init__(
        self,
        webhook: str,
        sender: Sender,
        keys: Sequence[Key],
        judge: Judge,
        rules: GateRules,
        *,
        render: Render,
        pause_after: int | None = None,
        hold_rows: bool = False,
        ledger: WebhookLedger,
        controls: Controls,
        lease: Lease,
        observer: Observer,
        unfinished: dict[str, Unfinished],
    ) -> None:
        self._webhook = webhook
        self._telling = Telling(webhook)
        self._sender = sender
        self._keys = keys
        self._judge = judge
        self._render = render
        self._pause_after = pause_after
        self._ledger = ledger
        self._controls = controls
        self._lease = lease
        self._observer = observer
        self._unfinished = unfinished
        self._gate = Gate(rules, self.tell_state, after_outage=_was_sick(rules, unfinished.values()))
        self._held = HeldRows(ledger, self._telling) if hold_rows else None
        self._given_up_in_a_row = 0
        self._troubled = 0

    # -- what others say ------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """No further attempts; those under way are finished."""
        self._gate.stop()

    def hurry(self) -> None:
        """Go on, but wait for no retry any more: what fails now is left as it is."""
        self._gate.hurry()

    def pause(self, why: str, *, by_itself: bool) -> None:
        """No further attempts until ``resume``; those under way are finished."""
        self._gate.pause(why, by_itself=by_itself)

    def resume(self) -> None:
        """Go on at once, whatever held it back: a pause, the breaker, a wait for the next attempt."""
        self._given_up_in_a_row = 0
        self._gate.resume()

    @property
    def recoveries(self) -> int:
        """How often the endpoint has become well again."""
        return self._gate.recoveries

    def caught_up(self) -> None:
        """What was held back while the endpoint was sick is delivered."""
        self._gate.caught_up()

    def tell_state(self) -> None:
        """Tell the observer how the webhook is."""
        gate = self._gate
        if gate.paused is not None:
            state = "paused"
        elif gate.is_sick:
            state = "open"
        else:
            state = "retrying" if self._troubled else "active"
        self._observer.turned(self._webhook, state, gate.paused)

    # -- batches --------------------------------------------------------------------------------------------------

    async def deliver(self, batch: Batch) -> bool:
        """Return True when the batch is finished with: delivered, or set aside. False when stopped before."""
        return await self._carry_what_may_go(Parcel.of(batch, self._render))

    async def tell(self, message: Message) -> bool:
        """Deliver what is made of no batch; as ``deliver``."""
        return await self._carry(Parcel(message, None, self._render, root=message.id))

    async def forget_unfinished(self, but: Collection[str]) -> None:
        """All batches that had begun are finished with: what is still noted as unfinished is none any more.

        ``but``: ids of messages that are made of no batch, and still to be told.
        """
        gone = [message_id for message_id in self._unfinished if message_id not in but]
        stale = [message_id for message_id in gone if self._unfinished.pop(message_id).state not in _LETTERS]
        if stale:
            await self._noted(self._ledger.forget(stale))

    async def made_anew(self, batches: Iterable[Batch], but: Collection[str]) -> None:
        """These replace all batches that had begun: those that wait are forgotten, unless they are among them.

        ``but``: as for ``forget_unfinished``. What was split is left until then: its parts may have arrived.
        """
        kept = {self._render(batch).id for batch in batches}.union(but)
        gone = [
            message_id
            for message_id, one in self._unfinished.items()
            if one.state == "pending" and not one.is_part and message_id not in kept
        ]
        for message_id in gone:
            del self._unfinished[message_id]
        if gone:
            await self._noted(self._ledger.forget(gone))

    async def _carry_what_may_go(self, parcel: Parcel) -> bool:
        """All of it, but for rows that wait for an earlier change."""
        if self._held is not None:
            sifted = await self._insist(partial(self._held.sift, parcel, self._unfinished))
            if sifted is None:
                return False
            (may_go,) = sifted
            if may_go is None:
                return True
            if may_go is not parcel:
                await self._divide(parcel, may_go.change_ids)
        finished = await self._carry(parcel)
        if finished and parcel.reduced:
            await self._noted(self._ledger.finished(parcel.message.id))
        return finished

    async def _divide(self, parcel: Parcel, may_go: Sequence[int]) -> None:
        """Of these changes only, whatever becomes of the letter that the others are held for: who begins again
        must not send with them what somebody has resent, or deleted.
        """
        await self._noted(self._ledger.split(parcel.delivery, None, remaining=may_go))
        is_part = parcel.part_of is not None
        self._unfinished[parcel.message.id] = Unfinished("split", 0, 0, 0.0, time.time(), is_part, may_go)

    async def _carry(self, whole: Parcel) -> bool:
        parcel = whole
        earlier = self._unfinished.pop(parcel.message.id, None)
        if earlier is not None and earlier.remaining:
            whole.reduced = True
            parcel = whole.only(earlier.remaining)
            earlier = self._unfinished.pop(parcel.message.id, None)
        if earlier is not None:
            if earlier.state in _FINISHED:
                return True
            if earlier.state == "split":
                return await self._carry_halves(parcel)
            parcel.attempts, parcel.counted = earlier.attempts, earlier.counted
            if not await self._gate.wait_until(self._due(earlier.next_attempt_at)):
                return False
        troubled = False
        try:
            while await self._gate.enter():
                try:
                    probing = self._gate.probing
                    attempt = await self._attempt(parcel)
                    tried, (parcel, decision) = parcel, self._verdict(parcel, attempt, probing=probing)
                    # From now on no clock that is set matters.
                    due = self._due(decision.at) if isinstance(decision, RetryAt) else 0.0
                finally:
                    self._gate.leave()
                if isinstance(decision, Delivered):
                    return await self._delivered(parcel, attempt)
                if not troubled:
                    troubled = True
                    self._trouble(1)
                attempt = attempt._replace(error=self._said(parcel, attempt, decision))
                if parcel is not tried:
                    await self._reduce(whole, tried, parcel, attempt)
                match decision:
                    case Split():
                        await self._noted(self._ledger.split(parcel.delivery, attempt))
                        return await self._carry_halves(parcel)
                    case GiveUp() | Drop():
                        return await self._give_up(parcel, attempt, decision)
                    case Pause(reason):
                        parcel.counted = 0  # for when it is resumed
                        await self._keep(parcel, attempt, time.time())
                        await self._pause(reason)
                    case RetryAt(at, counts, scheduled):
                        parcel.counted += counts
                        parcel.due_at = due + scheduled - at if counts else parcel.due_at
                        await self._keep(parcel, attempt, at)
                        if not await self._gate.wait_until(due):
                            return False
        finally:
            if troubled:
                self._trouble(-1)
        return False

    async def _reduce(self, whole: Parcel, tried: Parcel, left: Parcel, attempt: Attempt) -> None:
        """From now on what is left goes by an id of its own, as the one part of the whole."""
        whole.reduced, left.part_of = True, whole.message.id
        self._ledger.delivered(tried.all_but(left), attempt)
        await self._noted(self._ledger.split(whole.delivery, attempt, remaining=left.change_ids))
        if tried is not whole:
            await self._noted(self._ledger.forget([tried.message.id]))

    async def _carry_halves(self, parcel: Parcel) -> bool:
        """One after the other, for they may hold changes of the same row."""
        for half in parcel.halves():
            if not await self._carry_what_may_go(half):
                return False
        await self._noted(self._ledger.finished(parcel.message.id))
        return True

    # -- one attempt ----------------------------------------------------------------------------------------------

    async def _attempt(self, parcel: Parcel) -> Attempt:
        self._lease.check()
        message, at = parcel.message, time.time()
        headers = sign(self._keys, message.id, int(at), message.body)
        outcome = await self._sender.post(message, headers)
        parcel.attempts += 1
        return Attempt(parcel.attempts, at, outcome, None, headers)

    def _verdict(self, parcel: Parcel, attempt: Attempt, *, probing: bool) -> tuple[Parcel, Decision]:
        """What is left to deliver, and what the policy says about it. The gate and the observer get to know."""
        outcome = attempt.outcome
        chance = random.random()  # noqa: S311 - jitter, not a secret
        due = asyncio.get_running_loop().time() >= parcel.due_at
        recoveries = self._gate.recoveries
        verdict = self._judge.judge(
            parcel, outcome, time.time(), chance, probing=probing, due=due, recoveries=recoveries
        )
        left, decision, fault, complaint = verdict
        self._observer.attempted(self._webhook, outcome, delivered=fault is None)
        if fault is None:
            accepted = (
                parcel.events if left is parcel and isinstance(decision, Delivered) else parcel.events - left.events
            )
            self._got_through(accepted, probing=probing)
        else:
            self._observer.failing(self._webhook, classify(outcome))
        if fault is not None and _tells_of_endpoint(fault, decision):
            asked = asked_s(self._judge.policy, outcome, time.time()) if outcome.status in {429, 503} else 0.0
            # Whatever is given up on is no suspect any more.
            suspect = parcel.root if fault is Fault.UNCLEAR and not isinstance(decision, GiveUp | Drop) else None
            too_many = outcome.status == 429
            refused = fault in {Fault.CONTENT, Fault.SIZE} or (isinstance(decision, GiveUp) and decision.rejected)
            self._gate.failed(suspect, probe=probing, asked_s=asked, too_many=too_many, refused=refused)
        if complaint:
            self._telling.not_understood(parcel, complaint)
        elif left is not parcel:
            self._observer.accepted(self._webhook, parcel.events - left.events)
        return left, decision

    def _got_through(self, changes: int, *, probing: bool) -> None:
        was_paused = self._gate.paused is not None
        self._gate.succeeded(changes, probe=probing)
        if was_paused and self._gate.paused is None:
            self._given_up_in_a_row = 0
            self._controls.resumed()

    # -- what follows ---------------------------------------------------------------------------------------------

    async def _delivered(self, parcel: Parcel, attempt: Attempt) -> bool:
        self._telling.delivered(parcel, attempt.outcome.status)
        self._given_up_in_a_row = 0
        if parcel.attempts == 1 and parcel.part_of is None:
            self._ledger.delivered(parcel.delivery, attempt)
        else:
            await self._noted(self._ledger.delivered_at_last(parcel.delivery, attempt))
        self._observer.delivered(self._webhook, parcel.message)
        return True

    def _said(self, parcel: Parcel, attempt: Attempt, decision: Decision) -> str:
        """What happened, in words; the log and the observer get to know."""
        outcome = attempt.outcome
        error = classify(outcome)
        if outcome.status in self._judge.policy.success:
            error += f", but {parcel.events} of the events must be sent again"
            self._observer.failing(self._webhook, error)
        self._telling.failed(parcel, outcome.status, error, decision)
        return error

    async def _keep(self, parcel: Parcel, attempt: Attempt, next_at: float) -> None:
        kept = self._ledger.failed(
            parcel.delivery, attempt, state="pending", next_attempt_at=next_at, counted=parcel.counted
        )
        await self._noted(kept)

    async def _give_up(self, parcel: Parcel, attempt: Attempt, decision: GiveUp | Drop) -> bool:
        """False when stopped before it was written down: what is set aside nowhere would be lost."""
        if isinstance(decision, Drop):
            await self._controls.dropped(parcel.message, decision.reason)
            await self._noted(self._ledger.dropped(parcel.delivery, attempt))
        else:
            state: Literal["rejected", "dead"] = "rejected" if decision.rejected else "dead"
            letter = partial(self._ledger.failed, parcel.delivery, attempt, state=state, next_attempt_at=None)
            if await self._insist(letter) is None:
                return False
            if self._held is not None:
                self._held.forget()
        self._observer.gave_up(self._webhook, parcel.message, decision.reason, dropped=isinstance(decision, Drop))
        self._given_up_in_a_row += 1
        if self._pause_after is not None and self._given_up_in_a_row >= self._pause_after:
            await self._pause(f"{self._given_up_in_a_row} deliveries in a row were given up on")
        return True

    async def _pause(self, why: str) -> None:
        self._telling.paused(why)
        await self._controls.pause(why)
        self._gate.pause(why, by_itself=True)

    # -- small things ---------------------------------------------------------------------------------------------

    async def _noted(self, writing: Coroutine[Any, Any, None]) -> None:
        """A ledger that cannot be written must not have anything sent again, or out of its schedule."""
        try:
            await writing
        except ConnectionLost:
            raise
        except DatabaseError:
            return  # the ledger has said so

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> tuple[T] | None:
        """Ask the ledger, again and again while it cannot be used, for what must not be passed over; the answer, alone
        in a tuple. None when stopped before.
        """
        troubled = False
        try:
            while True:
                try:
                    return (await ask(),)
                except ConnectionLost:
                    raise
                except DatabaseError as error:  # the ledger has said so
                    self._observer.failing(self._webhook, error.message)
                if not troubled:
                    troubled = True
                    self._trouble(1)
                if not await self._gate.wait_until(asyncio.get_running_loop().time() + _REWRITE_S):
                    return None
        finally:
            if troubled:
                self._trouble(-1)

    def _due(self, at: float) -> float:
        """By the loop's clock, a time in seconds since 1970.

        Never later than the policy could ask for: the clock may have been set back since it was noted.
        """
        wait = min(max(0.0, at - time.time()), self._judge.policy.longest_wait_s)
        return asyncio.get_running_loop().time() + wait

    def _trouble(self, more: int) -> None:
        self._troubled += more
        self.tell_state()


def _was_sick(rules: GateRules, unfinished: Iterable[Unfinished]) -> bool:
    """Whether so many attempts of what waits have failed for the endpoint that it was held back: those do not count."""
    failures = sum(one.attempts - one.counted for one in unfinished if one.state == "pending")
    return rules.breaker is not None and failures >= rules.breaker.failures


def _tells_of_endpoint(fault: Fault, decision: Decision) -> bool:
    """What is said about one batch says nothing about the endpoint, unless it is all that ever comes."""
    return fault in {Fault.ENDPOINT, Fault.UNCLEAR} or (isinstance(decision, GiveUp) and fault is not Fault.WAY)
