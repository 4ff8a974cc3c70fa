"""What a daemon settles before it acts: is this database fit, which epoch is it, and where does each webhook stand."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import ConnectionLost, translated
from cdc_hooks.changelog.journal import Journal
from cdc_hooks.changelog.window import Progress
from cdc_hooks.errors import DatabaseError
from cdc_hooks.sql import queries

SCHEMA_VERSION = 1
OLDEST_SERVER = 15

_SQL = queries("changelog")


@dataclass(frozen=True, slots=True)
class Server:
    """What of the server decides how the daemon works."""

    version: int
    prepared_transactions: bool
    pooled: bool


class Control(NamedTuple):
    """Whether a webhook is paused, by whom (``policy``: by itself) and why; and when an operator last resumed it."""

    paused_by: str | None
    paused_why: str | None
    resumed_at: datetime | None
    resume_from: str | None
    """Where an operator wants it to go on: ``now``, or a tick."""


class Epochs:
    """Which epoch an id belongs to."""

    def __init__(self, rows: list[tuple[int, int]]) -> None:
        self._epochs = [epoch for epoch, _ in rows]
        self._first_ids = [first_id for _, first_id in rows]

    def __call__(self, change_id: int) -> int:
        return self._epochs[bisect_right(self._first_ids, change_id) - 1]


async def examine(connection: AsyncConnection[Any]) -> Server:
    """Refuse what cannot work, with what to do about it; a server that is read-only for now raises ConnectionLost."""
    row = await _one(connection, "about")
    number, read_only, prepared_transactions, installed = row
    if number // 10000 < OLDEST_SERVER:
        raise DatabaseError(
            f"the server is PostgreSQL {number // 10000}; cdc-hooks needs {OLDEST_SERVER} or newer",
            hint="point database.dsn at a newer server",
        )
    if read_only:
        raise ConnectionLost(
            "the server is read-only (a standby, or default_transaction_read_only is on); waiting for the primary",
            hint="name all hosts in database.dsn with target_session_attrs=read-write",
        )
    if not installed:
        raise DatabaseError(
            "the schema cdc_hooks is not in this database, or this role may not see it",
            hint="run: cdc-hooks apply, as the database's owner",
        )
    (version,) = await _one(connection, "schema_version")
    if version is None or version < SCHEMA_VERSION:
        raise DatabaseError(
            f"the database has schema version {version}, this program needs {SCHEMA_VERSION}",
            hint="run: cdc-hooks apply, as the database's owner",
        )
    if version > SCHEMA_VERSION:
        raise DatabaseError(
            f"the database has schema version {version}, this program knows {SCHEMA_VERSION} at most",
            hint="upgrade cdc-hooks on this machine",
        )
    (backend_pid,) = await _one(connection, "backend_pid")
    # A pooler tells the client a process id of its own making.
    return Server(number // 10000, prepared_transactions, pooled=backend_pid != connection.info.backend_pid)


async def settle_epoch(connection: AsyncConnection[Any], journal: Journal) -> Epochs:
    """Begin a new epoch after a failover; refuse a database that is older than its own cursors (a restored dump)."""
    system_identifier, timeline, next_xid, newest_tick_xid = await _one(connection, "cluster")
    known = await _all(connection, "epochs")
    foreign = bool(known) and known[-1][2] != system_identifier
    if newest_tick_xid > next_xid or (foreign and (await _one(connection, "changes_from_the_future"))[0]):
        raise DatabaseError(
            f"the change log has got to transaction {newest_tick_xid} or later, but this cluster only to {next_xid}: "
            "this database was restored from a dump of another cluster",
            hint="to start afresh here, with a gap recorded for each webhook, run: cdc-hooks rebase",
        )
    if not known or known[-1][2:] != (system_identifier, timeline):
        await journal.write("begin_epoch", system_identifier=system_identifier, timeline=timeline)
        known = await _all(connection, "epochs")
    return Epochs([(epoch, first_id) for epoch, first_id, _, _ in known])


async def epochs(connection: AsyncConnection[Any]) -> Epochs:
    """Those that are known; none before the first daemon has led."""
    known = await _all(connection, "epochs")
    if not known:
        raise DatabaseError("no daemon has run on this database yet", hint="start it: systemctl start cdc-hooks")
    return Epochs([(epoch, first_id) for epoch, first_id, _, _ in known])


async def register(connection: AsyncConnection[Any], journal: Journal, starts: Mapping[str, str]) -> dict[str, int]:
    """The ids of the configured webhooks. New ones get their place in the log, those no longer configured retire.

    ``starts``: by name, where a new one begins: ``now``, or ``earliest``.
    """
    known = {name: (webhook_id, state) for webhook_id, name, state in await _all(connection, "webhooks")}
    ids: dict[str, int] = {}
    for name, start in starts.items():
        if name not in known:
            ((ids[name],),) = await journal.write("add_webhook", name=name)
        else:
            ids[name], state = known[name]
            if state == "retired":
                await _return(connection, journal, ids[name])
        if await progress_of(connection, ids[name]) is None:
            tick = 0
            if start == "now":
                look = await journal.look(forced=True)
                tick = look.window.hi_tick if look.window else 0
            await journal.record(ids[name], Progress(tick, tick, 0))
    for name, (webhook_id, state) in known.items():
        if name not in starts and state != "retired":
            await journal.write("set_webhook_state", webhook_id=webhook_id, state="retired")
    return ids


async def _return(connection: AsyncConnection[Any], journal: Journal, webhook_id: int) -> None:
    """A webhook is configured again. What was reclaimed while it was not is a gap."""
    progress = await progress_of(connection, webhook_id)
    if progress is not None:
        newest, upto_id = await _one(connection, "newest_tick")
        # Where the changes that it has not got may begin: lower than its tick, if a transaction was running then.
        stood = (await _one(connection, "open_window", lo=progress.lo_tick, hi=newest))[-2]
        (kept,) = await _one(connection, "next_id", after_id=stood)
        first = upto_id + 1 if kept is None else kept
        await _missed(journal, webhook_id, stood, first - 1, "reclaimed while the webhook was not configured")
    await journal.write("set_webhook_state", webhook_id=webhook_id, state="active")


async def move(connection: AsyncConnection[Any], journal: Journal, webhook_id: int, to: str) -> int:
    """Have a webhook go on from a tick (or the last one before it), or from ``now``. Returns the tick.

    What it has not got, and will not get, is a gap: what is passed over, or is no longer in the log.
    """
    progress = await progress_of(connection, webhook_id)
    newest, upto_id = await _one(connection, "newest_tick")
    if to == "now":
        look = await journal.look(forced=True)
        tick = look.window.hi_tick if look.window else newest
    else:
        (tick,) = await _one(connection, "tick_or_before", tick=int(to))
    if progress is not None and progress.lo_tick < tick:
        stood = (await _one(connection, "open_window", lo=progress.lo_tick, hi=tick))[-2]
        (passed,) = await _one(connection, "upto_id", tick=tick)
        await _missed(journal, webhook_id, max(stood, progress.after_id), passed, "passed over by an operator")
    else:
        begins = (await _one(connection, "open_window", lo=tick, hi=newest))[-2]
        (kept,) = await _one(connection, "next_id", after_id=begins)
        first = upto_id + 1 if kept is None else kept
        await _missed(journal, webhook_id, begins, first - 1, "no longer in the change log")
    await journal.record(webhook_id, Progress(tick, tick, 0))
    await journal.write("moved_webhook", webhook_id=webhook_id)
    return int(tick)


async def _missed(journal: Journal, webhook_id: int, after_id: int, upto_id: int, reason: str) -> None:
    if upto_id > after_id:
        span = {"after_id": after_id, "upto_id": upto_id}
        await journal.write("add_gap", webhook_id=webhook_id, **span, reason=reason, told=False)


async def progress_of(connection: AsyncConnection[Any], webhook_id: int) -> Progress | None:
    """The newest recorded progress of a webhook."""
    rows = await _all(connection, "progress", webhook_id=webhook_id)
    if not rows:
        return None
    lo_tick, hi_tick, after_id, to_id, done, shape, earlier = rows[0]
    before = tuple((described, tuple(done)) for described, done in json.loads(earlier or "[]"))
    return Progress(lo_tick, hi_tick, after_id, to_id, tuple(done), shape, before)


async def described_shape(connection: AsyncConnection[Any], webhook_id: int) -> str | None:
    """The shape that a webhook's newest claims were made with, as it was described; None if there were none."""
    described: str | None = (await _one(connection, "described_shape", webhook_id=webhook_id))[0]
    return described


async def controls(connection: AsyncConnection[Any]) -> dict[int, Control]:
    """What holds for each webhook, by id."""
    return {webhook_id: Control(*rest) for webhook_id, *rest in await _all(connection, "controls")}


async def newest_tick(connection: AsyncConnection[Any]) -> int:
    return int((await _one(connection, "newest_tick"))[0])


async def leader(connection: AsyncConnection[Any]) -> str:
    """Who leads, for people to read."""
    holder, since = await _one(connection, "leader")
    return f"{holder} (since {since})"


async def installation(connection: AsyncConnection[Any]) -> str:
    """The id of this installation, a UUID."""
    return str((await _one(connection, "installation"))[0])


async def _one(connection: AsyncConnection[Any], query: str, **parameters: Any) -> tuple[Any, ...]:
    rows = await _all(connection, query, **parameters)
    return rows[0]


async def _all(connection: AsyncConnection[Any], query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with translated():
        return await (await connection.execute(_SQL[query], parameters)).fetchall()
