"""The words that every stage shares: changes, batches, messages. Data only."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Action(StrEnum):
    """What happened to a row (or, for ``truncate``, to all rows of a table)."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


class Cause(StrEnum):
    """What a person may be told of, when one is needed."""

    PAUSED = "paused"
    SICK = "sick"
    """Its endpoint fails, and the whole webhook is held back."""
    RECOVERED = "recovered"
    DEAD_LETTER = "dead_letter"
    DISK_BUDGET = "disk_budget"
    """Near, and from DISK_FULL on at it or above."""
    DISK_FULL = "disk_full"
    CAPTURE = "capture"
    """Triggers are not as they should be."""
    GAP = "gap"


class Change(NamedTuple):
    """One captured row event, as it stands in the change log.

    ``key``, ``old_key`` and ``data`` are JSON, the bytes that PostgreSQL made; nothing here parses them.
    """

    id: int
    table: str
    """SQL name with schema, quoted where SQL needs it: ``public.orders``, ``public."Order Items"``."""
    action: Action
    key: bytes | None
    """A JSON scalar for a key of one column, an object for several, None for a table without a key."""
    old_key: bytes | None
    """The key before an update that changed it, else None."""
    at: bytes
    """When the row was written, UTC, ``2026-11-21T10:00:00.123456Z``."""
    data: bytes | None
    """The row (of a delete: the row that was), None where there is none or it was too large."""
    truncated: bool
    """True where ``data`` was left out because the row is larger than the capture's limit."""


class Batch(NamedTuple):
    """Changes of one table and one action that travel in one request, in log order."""

    table: str
    action: Action
    changes: tuple[Change, ...]


class Gap(NamedTuple):
    """A range of the change log, (after_id, upto_id], of which a webhook may not have got everything."""

    id: int
    after_id: int
    upto_id: int
    reason: str


class Message(NamedTuple):
    """A batch (or the news of a gap) made ready to send: the same one always has the same ``id`` and ``body``."""

    id: str
    body: bytes
    table: str
    action: str
    """An Action, or ``gap``."""
    event_count: int
    first_event: str
    last_event: str
    first_at: bytes | None
    """When its first row was written."""
