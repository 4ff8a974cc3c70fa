"""What the leading daemon writes: ticks, claims and acknowledgements. Every write is fenced by the generation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import ConnectionLost, translated
from cdc_hooks.changelog.lease import LEASE_S, Lease
from cdc_hooks.changelog.stretch import Columns, columns_of
from cdc_hooks.changelog.window import Progress, Window, window_of
from cdc_hooks.model import Gap
from cdc_hooks.sql import queries

_SQL = queries("changelog")


SHORT_IDS = 1024
SHORT_BYTES = 1024 * 1024
"""A window of at most so many ids and bytes comes with its changes, claimed for the webhooks that wait for it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The webhooks that wait at a tick for the next one, by id, with the fingerprints of their shapes."""

    tick: int
    shapes: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the log found: the oldest running transaction; if there is a new tick, its window; and if that is
    short, its changes. ``claimed``: it is claimed for those that waited.
    """

    oldest_xid: int
    window: Window | None
    columns: Columns | None = None
    claimed: bool = False


_NOBODY = Waiting(-1, {})
_PAGE = 9
"""The first column of a look that belongs to the page."""


class Journal:
    """One connection, and all writes that are on the way of a change.

    Progress of several webhooks that comes in while the connection is busy is written together (group commit).
    """

    def __init__(self, connection: AsyncConnection[Any], lease: Lease) -> None:
        self._connection = connection
        self._lease = lease
        self._waiting: dict[int, tuple[Progress, list[asyncio.Future[None]]]] = {}
        self._writer: asyncio.Task[None] | None = None
        self._newest: dict[int, asyncio.Future[None]] = {}

    async def look(self, waiting: Waiting = _NOBODY, *, forced: bool = False, reading: bool = True) -> Look:
        """Make a tick if there is something new (or always, if ``forced``); without ``reading``, only that."""
        return await self._look("look", waiting, forced=forced, short_ids=SHORT_IDS if reading else -1)

    async def look_and_beat(self, ring_s: float | None, waiting: Waiting = _NOBODY) -> Look:
        """The same together with ``beat``: the only query of an idle daemon."""
        with self._lease.renewing():
            return await self._look(
                "look_and_beat", waiting, lease_ms=_ms(LEASE_S), ring_ms=_ms(ring_s), forced=False, short_ids=SHORT_IDS
            )

    async def beat(self, ring_s: float | None = None) -> None:
        """Keep the lead; set the doorbell to ring for ``ring_s`` seconds (0: do not ring, None: leave it)."""
        with self._lease.renewing():
            await self._execute("heartbeat", lease_ms=_ms(LEASE_S), ring_ms=_ms(ring_s))

    async def own_xid(self) -> int:
        """The id of a transaction of our own: all that are assigned later are above it."""
        row = await (await self._execute("own_xid")).fetchone()
        return int(row[0])

    def record(self, webhook_id: int, progress: Progress) -> asyncio.Future[None]:
        """Append a webhook's progress; done when it is durable. Of several that wait, the newest stands for all."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        _, others = self._waiting.get(webhook_id, (None, []))
        self._waiting[webhook_id] = (progress, [*others, done])
        self._newest[webhook_id] = done
        done.add_done_callback(lambda done: done.cancelled() or done.exception())  # who asked may have gone
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return done

    async def write(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """One of the rarer fenced writes, by its name in ``changelog.sql``; the rows that it returns."""
        cursor = await self._execute(query, **parameters)
        return await cursor.fetchall() if cursor.description else []

    async def untold_gaps(self, webhook_id: int) -> list[Gap]:
        """Gaps that the webhook's receiver does not know of yet."""
        rows = await (await self._execute("untold_gaps", webhook_id=webhook_id)).fetchall()
        return [Gap(*row) for row in rows]

    async def told_gap(self, gap: Gap) -> None:
        await self._execute("told_gap", gap_id=gap.id)

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, {}
            futures = [future for _, waiting in group.values() for future in waiting if not future.done()]
            rows = [(webhook_id, progress) for webhook_id, (progress, _) in group.items()]
            try:
                await self._execute(
                    "record",
                    webhook_ids=[webhook_id for webhook_id, _ in rows],
                    lo_ticks=[p.lo_tick for _, p in rows],
                    hi_ticks=[p.hi_tick for _, p in rows],
                    after_ids=[p.after_id for _, p in rows],
                    to_ids=[p.to_id for _, p in rows],
                    done=["{" + ",".join(map(str, p.done)) + "}" for _, p in rows],
                    shapes=[p.shape for _, p in rows],
                    earlier=[json.dumps(p.earlier) if p.earlier else None for _, p in rows],
                )
            except BaseException as error:
                for future in futures:
                    if not future.done():
                        future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                if not isinstance(error, Exception):
                    raise
            else:
                for future in futures:
                    if not future.done():
                        future.set_result(None)

    async def _look(self, query: str, waiting: Waiting, **parameters: Any) -> Look:
        # What they have asked to be recorded stands before what is claimed for them now.
        recording = [done for one in waiting.shapes if (done := self._newest.get(one)) and not done.done()]
        if recording:
            await asyncio.wait(recording)
        cursor = await self._execute(
            query,
            waiting_at=waiting.tick,
            webhook_ids=list(waiting.shapes),
            shapes=list(waiting.shapes.values()),
            short_bytes=SHORT_BYTES,
            **parameters,
        )
        oldest_xid, *window, claimed = (await cursor.fetchone())[:_PAGE]
        if window[0] is None:
            return Look(oldest_xid, None)
        return Look(oldest_xid, window_of(tuple(window)), columns_of(cursor.pgresult, _PAGE), claimed)

    async def _execute(self, query: str, **parameters: Any) -> Any:
        try:
            async with asyncio.timeout(LEASE_S):
                with translated():
                    return await self._connection.execute(
                        _SQL[query], {"generation": self._lease.generation, **parameters}
                    )
        except TimeoutError as error:
            # The lease has run out meanwhile: who waits on would only believe that it leads.
            raise ConnectionLost(f"no answer from the database within {LEASE_S:.0f} s") from error


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
