"""The record of deliveries: where the schedule of each stands, the dead letters, and what is finished with.

What a restart needs is written before the courier goes on. The rest is gathered and written behind its back (``Book``).
Whatever happens to the ledger, nothing is sent again for it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from psycopg import AsyncConnection

from cdc_hooks.changelog.lease import Lease
from cdc_hooks.config.choices import Recorded
from cdc_hooks.config.ledger import Ledger as Rules
from cdc_hooks.deliver.ledger_connection import LedgerConnection, NotWritten
from cdc_hooks.deliver.logbook import Book, Outage
from cdc_hooks.deliver.outcome import Outcome
from cdc_hooks.deliver.storable import END, header_lines, record, storable
from cdc_hooks.model import Message

CLOSE_S = 3.0
"""What is not written within this when the daemon stops is lost."""
SUCCESS_BODY = 4096
"""Of the answer to a delivery that succeeded at most so many bytes are kept, if any."""
FAILURE_BODY = 16 * 1024
"""Of the answer to one that failed."""
_NO_PARTITION = "23514"

State = Literal["pending", "split", "part", "held", "rejected", "dead"]
Kind = Literal["normal", "resend", "replay"]


class Delivery(NamedTuple):
    """A message on its way, as the ledger knows it."""

    message: Message
    row_ids: bytes
    """JSON array of the keys of its rows. It comes from this database, so any of it can be stored there as it is."""
    part_of: str | None = None
    """Id of the message that it was split from."""


class Attempt(NamedTuple):
    """One request. ``at`` in seconds since 1970; ``headers``: those that sign it, as sent."""

    number: int
    at: float
    outcome: Outcome
    error: str | None
    headers: Mapping[str, str]


class Endpoint(NamedTuple):
    """What of a webhook's configuration its deliveries are made with. Holds no secrets: it is written and shown."""

    url: str
    secrets: tuple[str, ...]
    """Fingerprints."""
    fields: Mapping[str, tuple[str, ...] | None]
    """By table; None: all."""
    headers: tuple[str, ...]
    """Names of those that are configured."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A delivery that an earlier daemon had begun. Times in seconds since 1970; ``next_attempt_at`` 0 if none."""

    state: State
    attempts: int
    counted: int
    next_attempt_at: float
    first_attempt_at: float
    is_part: bool
    remaining: Sequence[int] | None = None
    """Where its receiver has accepted some of it, or some of it is held: ids of the other changes, which are a delivery
    of their own.
    """


class Ledger:
    """Of all webhooks. ``connect`` opens a connection of its own; ``on_lost`` counts records that were not written."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[Any]]],
        lease: Lease,
        rules: Rules,
        on_lost: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self.rules = rules
        self.connection = LedgerConnection(connect, lease)
        self.outage = Outage("open deliveries", on_lost)
        self.finished = Book(partial(self._append, "log_deliveries"), Outage("finished deliveries", on_lost))
        self.attempts = Book(partial(self._append, "log_attempts"), Outage("failed attempts", on_lost))
        self.used = False
        """Whether anything was recorded since this was last set to false."""

    def of(self, webhook_id: int, endpoint: Endpoint, kind: Kind = "normal") -> WebhookLedger:
        return WebhookLedger(self, webhook_id, endpoint, kind)

    async def close(self) -> None:
        """Write what there is, within a bound, and disconnect."""
        await self.finished.close(CLOSE_S)
        await self.attempts.close(CLOSE_S)
        await self.connection.close()

    async def durably(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Write what a restart must know. Raises NotWritten, after it was logged and counted."""
        try:
            rows = await self.connection.run(query, **parameters)
        except NotWritten as error:
            self.outage.lost(1, error.message)
            raise
        self.outage.over()
        return rows

    async def _append(self, query: str, group: list[str]) -> None:
        self.used = True
        records = END.join(group)
        try:
            await self.connection.run(query, records=records)
        except NotWritten as error:
            if error.sqlstate != _NO_PARTITION:
                raise
            await self.connection.run("tidy", keep_s=self.rules.keep, max_bytes=self.rules.max_bytes)
            await self.connection.run(query, records=records)


class WebhookLedger:
    """Of one webhook. What raises NotWritten has been logged and counted."""

    def __init__(self, ledger: Ledger, webhook_id: int, endpoint: Endpoint, kind: Kind) -> None:
        self._ledger = ledger
        self._webhook_id = webhook_id
        self._endpoint = endpoint
        self._endpoint_id: int | None = None
        self._kind = kind

    async def unfinished(self) -> dict[str, Unfinished]:
        """By message id: deliveries that are not finished with, and those given up on lately. Raises NotWritten."""
        with suppress(NotWritten):  # then it is not known what they were made with
            self._endpoint_id = await self._known_endpoint()
        rows = await self._ledger.connection.run("unfinished", webhook_id=self._webhook_id)
        return {row[0]: Unfinished(*row[1:]) for row in rows}

    async def failed(
        self,
        delivery: Delivery,
        attempt: Attempt | None,
        *,
        state: State,
        next_attempt_at: float | None,
        counted: int = 0,
        remaining: Sequence[int] | None = None,
    ) -> None:
        """An attempt failed, or (None) none is made. Durable when it returns; raises NotWritten.

        ``next_attempt_at`` in seconds since 1970, only of what is pending. ``remaining``: see ``Unfinished``.
        """
        # So that numbers are in the order of the attempts: what was delivered before gets its number before.
        await self._ledger.finished.flush()
        error = (attempt.error or "") if attempt else "an earlier change of its row was set aside"
        rows = await self._ledger.durably(
            "failed",
            **self._about(delivery, attempt),
            state=state,
            counted=counted,
            next_attempt_at=next_attempt_at,
            remaining=None if remaining is None else list(remaining),
            last_error=self._text(error),
            body=delivery.message.body,
        )
        if attempt is not None and self._ledger.rules.log is not Recorded.NONE:
            self._keep_attempt(rows[0][0], attempt)

    async def split(
        self, delivery: Delivery, attempt: Attempt | None, *, remaining: Sequence[int] | None = None
    ) -> None:
        """Its parts are deliveries of their own from now on: its halves, or what remains of it.

        As ``failed``.
        """
        await self.failed(delivery, attempt, state="split", next_attempt_at=None, remaining=remaining)

    def delivered(self, delivery: Delivery, attempt: Attempt) -> None:
        """The first attempt succeeded. Never waits, never raises."""
        if self._ledger.rules.log is Recorded.ALL:
            self._log(delivery, attempt, "delivered", None, attempt.at)

    async def delivered_at_last(self, delivery: Delivery, attempt: Attempt) -> None:
        """One that had failed before, or a part of what had, got through. Durable; raises NotWritten."""
        if delivery.part_of is None:
            await self._closed(delivery, attempt, "delivered")
            return
        rows = await self._ledger.durably("part_delivered", **self._about(delivery, attempt))
        await self._closed_as(delivery, attempt, "delivered", rows)

    async def dropped(self, delivery: Delivery, attempt: Attempt) -> None:
        """It was given up on and is forgotten. Durable; raises NotWritten."""
        await self._closed(delivery, attempt, "dropped")

    async def finished(self, message_id: str) -> None:
        """A split delivery is finished with: what was remembered of its parts goes. Raises NotWritten."""
        rows = await self._ledger.durably("finished", webhook_id=self._webhook_id, message_id=message_id)
        if self._ledger.rules.log is not Recorded.NONE:
            for row in rows:  # without an answer, which is its attempt's, and a body, which are its parts'
                self._ledger.finished.add(record((*row, None, None, None)))

    async def forget(self, message_ids: Sequence[str]) -> None:
        """These are no deliveries any more. Raises NotWritten."""
        await self._ledger.durably("forget", webhook_id=self._webhook_id, message_ids=list(message_ids))

    async def held_rows(self) -> frozenset[tuple[str, bytes]]:
        """Table and key of the rows that have a dead letter, or a change that waits for one. Raises NotWritten."""
        rows = await self._ledger.durably("held_rows", webhook_id=self._webhook_id)
        return frozenset((table, key.encode()) for table, key in rows)

    async def _closed(self, delivery: Delivery, attempt: Attempt, state: str) -> None:
        message_id = delivery.message.id
        rows = await self._ledger.durably("closed", webhook_id=self._webhook_id, message_id=message_id)
        await self._closed_as(delivery, attempt, state, rows)

    async def _closed_as(self, delivery: Delivery, attempt: Attempt, state: str, rows: list[tuple[Any, ...]]) -> None:
        number, first_attempt_at = rows[0] if rows else (None, attempt.at)
        recorded = self._ledger.rules.log
        if recorded is Recorded.ALL or (recorded is Recorded.REJECTED and state != "delivered"):
            self._log(delivery, attempt, state, number, first_attempt_at)

    def _keep_attempt(self, number: int, attempt: Attempt) -> None:
        outcome = attempt.outcome
        self._ledger.attempts.add(
            record(
                (
                    number,
                    attempt.number,
                    attempt.at,
                    outcome.duration_s,
                    outcome.status,
                    outcome.error_class,
                    self._text(attempt.error or ""),
                    self._text(header_lines(attempt.headers.items())),
                    self._text(header_lines(outcome.headers)),
                    outcome.body[:FAILURE_BODY],
                )
            )
        )

    def _log(
        self, delivery: Delivery, attempt: Attempt, state: str, number: int | None, first_attempt_at: float
    ) -> None:
        """With the values in the order of the query ``log_deliveries``; no body stays in memory that is not kept."""
        message, outcome = delivery.message, attempt.outcome
        bodies = self._ledger.rules.bodies is Recorded.ALL
        self._ledger.finished.add(
            record(
                (
                    number,
                    self._webhook_id,
                    self._endpoint_id,
                    message.id,
                    self._kind,
                    delivery.part_of,
                    state,
                    message.table,
                    message.action,
                    delivery.row_ids.decode(errors="replace"),
                    message.event_count,
                    message.first_event,
                    message.last_event,
                    attempt.number,
                    first_attempt_at,
                    attempt.at,
                    outcome.duration_s,
                    outcome.status,
                    self._text(attempt.error) if attempt.error else None,
                    self._text(header_lines(outcome.headers)),
                    outcome.body[:SUCCESS_BODY] if bodies else None,
                    message.body if bodies else None,
                )
            )
        )

    def _about(self, delivery: Delivery, attempt: Attempt | None) -> dict[str, Any]:
        message = delivery.message
        return {
            "webhook_id": self._webhook_id,
            "endpoint_id": self._endpoint_id,
            "message_id": message.id,
            "kind": self._kind,
            "part_of": delivery.part_of,
            "table_name": message.table,
            "action": message.action,
            "row_ids": delivery.row_ids.decode(errors="replace"),
            "event_count": message.event_count,
            "first_event": message.first_event,
            "last_event": message.last_event,
            "attempts": attempt.number if attempt else 0,
            "at": attempt.at if attempt else time.time(),
            "duration_s": attempt.outcome.duration_s if attempt else None,
            "last_status": attempt.outcome.status if attempt else None,
        }

    async def _known_endpoint(self) -> int:
        url, secrets, fields, headers = self._endpoint
        said = {
            "url": url,
            "secrets": " ".join(secrets),
            "fields": json.dumps(fields),
            "headers": " ".join(headers),
        }
        fingerprint = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24]
        rows = await self._ledger.connection.run(
            "endpoint", webhook_id=self._webhook_id, fingerprint=fingerprint, **said
        )
        return int(rows[0][0])

    def _text(self, text: str) -> str:
        return storable(text, self._ledger.connection.server_encoding)
