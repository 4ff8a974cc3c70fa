"""The record of deliveries whose first attempt failed: where their schedule stands, and the dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import translated
from cdc_hooks.changelog.lease import Lease
from cdc_hooks.deliver.outcome import Outcome
from cdc_hooks.model import Message
from cdc_hooks.sql import queries

_SQL = queries("changelog")

State = Literal["pending", "split", "part", "held", "rejected", "dead"]


class Delivery(NamedTuple):
    """A message on its way, as the ledger knows it."""

    message: Message
    row_ids: bytes
    part_of: str | None = None


class Attempt(NamedTuple):
    """One request. ``at`` in seconds since 1970."""

    number: int
    at: float
    outcome: Outcome
    error: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A delivery that an earlier daemon had begun. ``next_attempt_at`` is in seconds since 1970."""

    state: State
    attempts: int
    counted: int
    next_attempt_at: float


class Ledger:
    """Off the hot path: nothing is written for a delivery whose first attempt succeeds."""

    def __init__(self, connection: AsyncConnection[Any], lease: Lease) -> None:
        self._connection = connection
        self._lease = lease

    def of(self, webhook_id: int) -> WebhookLedger:
        return WebhookLedger(self, webhook_id)

    async def run(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with translated():
            cursor = await self._connection.execute(_SQL[query], {"generation": self._lease.generation, **parameters})
            return await cursor.fetchall() if cursor.description else []


class WebhookLedger:
    def __init__(self, ledger: Ledger, webhook_id: int) -> None:
        self._ledger = ledger
        self._webhook_id = webhook_id

    async def unfinished(self) -> dict[str, Unfinished]:
        rows = await self._ledger.run("unfinished_deliveries", webhook_id=self._webhook_id)
        return {row[0]: Unfinished(*row[1:]) for row in rows}

    async def failed(
        self,
        delivery: Delivery,
        attempt: Attempt | None,
        *,
        state: State,
        next_attempt_at: float | None,
        counted: int = 0,
    ) -> None:
        message = delivery.message
        at = _time(attempt.at) if attempt else datetime.now(UTC)
        await self._ledger.run(
            "failed_delivery",
            webhook_id=self._webhook_id,
            message_id=message.id,
            state=state,
            table_name=message.table,
            action=message.action,
            event_count=message.event_count,
            first_event=message.first_event,
            last_event=message.last_event,
            attempts=attempt.number if attempt else 0,
            counted=counted,
            part_of=delivery.part_of,
            at=at,
            next_attempt_at=None if next_attempt_at is None else _time(next_attempt_at),
            last_status=attempt.outcome.status if attempt else None,
            last_error=((attempt.error if attempt else None) or "").replace("\0", "\ufffd"),
            body=message.body,
        )

    async def split(self, delivery: Delivery, attempt: Attempt) -> None:
        await self.failed(delivery, attempt, state="split", next_attempt_at=None)

    def delivered(self, delivery: Delivery, attempt: Attempt) -> None:
        pass

    async def delivered_at_last(self, delivery: Delivery, attempt: Attempt) -> None:
        if delivery.part_of is not None:
            await self.failed(delivery, attempt, state="part", next_attempt_at=None)
        else:
            await self.finished(delivery.message.id)

    async def dropped(self, delivery: Delivery, attempt: Attempt) -> None:  # noqa: ARG002
        await self.finished(delivery.message.id)

    async def finished(self, message_id: str) -> None:
        await self.forget([message_id])

    async def forget(self, message_ids: Sequence[str]) -> None:
        await self._ledger.run("forget_deliveries", webhook_id=self._webhook_id, message_ids=list(message_ids))

    async def held_rows(self) -> frozenset[tuple[str, bytes | None]]:
        return frozenset()


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
