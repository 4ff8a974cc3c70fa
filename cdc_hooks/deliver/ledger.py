"""The record of deliveries whose first attempt failed: where their schedule stands, and the dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import translated
from cdc_hooks.changelog.lease import Lease
from cdc_hooks.model import Message
from cdc_hooks.sql import queries

_SQL = queries("changelog")


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A delivery that an earlier daemon had begun. ``next_attempt_at`` is in seconds since 1970."""

    state: Literal["retrying", "dead"]
    attempts: int
    next_attempt_at: float


class Ledger:
    """Off the hot path: nothing is written for a delivery whose first attempt succeeds."""

    def __init__(self, connection: AsyncConnection[Any], lease: Lease) -> None:
        self._connection = connection
        self._lease = lease

    async def unfinished(self, webhook_id: int) -> dict[str, Unfinished]:
        """By message id: deliveries that are being retried, and those given up on lately."""
        with translated():
            cursor = await self._connection.execute(_SQL["unfinished_deliveries"], {"webhook_id": webhook_id})
            rows = await cursor.fetchall()
        return {
            message_id: Unfinished(state, attempts, next_attempt_at)
            for message_id, state, attempts, next_attempt_at in rows
        }

    async def failed(
        self,
        webhook_id: int,
        message: Message,
        *,
        attempts: int,
        at: float,
        next_attempt_at: float | None,
        status: int | None,
        error: str,
    ) -> None:
        """An attempt failed. Without a next attempt it is a dead letter. Times are in seconds since 1970."""
        parameters = {
            "generation": self._lease.generation,
            "webhook_id": webhook_id,
            "message_id": message.id,
            "state": "dead" if next_attempt_at is None else "retrying",
            "table_name": message.table,
            "action": message.action,
            "event_count": message.event_count,
            "first_event": message.first_event,
            "last_event": message.last_event,
            "attempts": attempts,
            "at": _time(at),
            "next_attempt_at": None if next_attempt_at is None else _time(next_attempt_at),
            "last_status": status,
            "last_error": error.replace("\0", "\ufffd"),  # PostgreSQL's text holds no NUL
            "body": message.body,
        }
        with translated():
            await self._connection.execute(_SQL["failed_delivery"], parameters)

    async def delivered(self, webhook_id: int, message_id: str) -> None:
        """A delivery that had failed before got through."""
        with translated():
            await self._connection.execute(
                _SQL["delivered_at_last"],
                {"generation": self._lease.generation, "webhook_id": webhook_id, "message_id": message_id},
            )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
