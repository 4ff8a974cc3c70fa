"""Delivering one message: attempt, ask the policy, wait, attempt again, until it is delivered or given up on."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from cdc_hooks.changelog.connection import ConnectionLost
from cdc_hooks.deliver.policy import Delivered, GiveUp, Policy, RetryAt, classify, decide
from cdc_hooks.deliver.sign import sign
from cdc_hooks.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from cdc_hooks.changelog.lease import Lease
    from cdc_hooks.deliver.ledger import Ledger, Unfinished
    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.deliver.post import Sender
    from cdc_hooks.deliver.sign import Key
    from cdc_hooks.model import Message

log = structlog.get_logger()


class Observer(Protocol):
    """Who wants to know what becomes of a webhook's messages (metrics, status)."""

    def attempted(self, webhook: str, outcome: Outcome, *, delivered: bool) -> None: ...
    def delivered(self, webhook: str, message: Message) -> None: ...
    def failing(self, webhook: str, error: str) -> None: ...
    def gave_up(self, webhook: str, message: Message) -> None: ...


class Courier:
    """Delivers the messages of one webhook; several at once, each by itself."""

    def __init__(
        self,
        webhook: str,
        webhook_id: int,
        sender: Sender,
        keys: Sequence[Key],
        policy: Policy,
        *,
        ledger: Ledger,
        lease: Lease,
        observer: Observer,
        unfinished: dict[str, Unfinished],
    ) -> None:
        self._webhook = webhook
        self._webhook_id = webhook_id
        self._sender = sender
        self._keys = keys
        self._policy = policy
        self._ledger = ledger
        self._lease = lease
        self._observer = observer
        self._unfinished = unfinished
        self._stopped = False
        self._no_waiting = asyncio.Event()

    def stop(self) -> None:
        """No further attempts; those under way are finished."""
        self._stopped = True
        self._no_waiting.set()

    def hurry(self) -> None:
        """Go on, but wait for no retry any more: what fails now is left as it is."""
        self._no_waiting.set()

    async def deliver(self, message: Message) -> bool:
        """Return True when the message is finished with: delivered, or a dead letter. False when stopped before."""
        earlier = self._unfinished.pop(message.id, None)
        attempts = earlier.attempts if earlier else 0
        if earlier and earlier.state == "dead":
            return True
        if earlier and not await self._wait_until(earlier.next_attempt_at):
            return False
        while not self._stopped:
            self._lease.check()
            started_at = time.time()
            headers = sign(self._keys, message.id, int(started_at), message.body)
            outcome = await self._sender.post(message, headers)
            attempts += 1
            chance = random.random()  # noqa: S311 - jitter, not a secret
            decision = decide(self._policy, attempts, outcome, time.time(), chance)
            self._observer.attempted(self._webhook, outcome, delivered=isinstance(decision, Delivered))
            if isinstance(decision, Delivered):
                log.debug("delivered", **self._about(message, attempts), status=outcome.status)
                if attempts > 1:
                    await self._noted(self._ledger.delivered(self._webhook_id, message.id))
                self._observer.delivered(self._webhook, message)
                return True
            await self._failed(message, attempts, started_at, outcome, decision)
            if isinstance(decision, GiveUp):
                self._observer.gave_up(self._webhook, message)
                return True
            if not await self._wait_until(decision.at):
                return False
        return False

    async def _failed(
        self, message: Message, attempts: int, at: float, outcome: Outcome, decision: RetryAt | GiveUp
    ) -> None:
        error = classify(outcome)
        next_at = decision.at if isinstance(decision, RetryAt) else None
        await self._noted(
            self._ledger.failed(
                self._webhook_id,
                message,
                attempts=attempts,
                at=at,
                next_attempt_at=next_at,
                status=outcome.status,
                error=error,
            )
        )
        self._observer.failing(self._webhook, error)
        about = self._about(message, attempts)
        if next_at is None:
            log.error("dead_letter", **about, status=outcome.status, error=error)
        else:
            log.warning(
                "attempt_failed", **about, status=outcome.status, error=error, retry_in_s=round(next_at - at, 1)
            )

    async def _noted(self, writing: Coroutine[Any, Any, None]) -> None:
        """A ledger that cannot be written must not have anything sent again, or out of its schedule."""
        try:
            await writing
        except ConnectionLost:
            raise
        except DatabaseError as error:
            log.error("ledger_not_written", webhook=self._webhook, error=error.message)  # noqa: TRY400 - no fault of ours

    async def _wait_until(self, at: float) -> bool:
        """Wait until a time in seconds since 1970; False when told not to."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, at - time.time())):
                await self._no_waiting.wait()
        return not self._no_waiting.is_set()

    def _about(self, message: Message, attempts: int) -> dict[str, object]:
        return {
            "webhook": self._webhook,
            "message": message.id,
            "table": message.table,
            "action": str(message.action),
            "events": message.event_count,
            "attempt": attempts,
        }
