"""Keeping the tables small: partitions of the log are emptied, old ticks and progress are trimmed."""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import encoding_of, translated
from cdc_hooks.changelog.lease import Lease
from cdc_hooks.sql import queries

KEPT_TICKS = 8192
"""The newest ticks are never trimmed."""

_SQL = queries("changelog")
_TIDY_LEDGER = queries("ledger")["tidy"]


class Sizes(NamedTuple):
    """Of the change log: bytes on disk, and rows at most; and how full the queue of notifications is (0 to 1)."""

    log_bytes: int
    log_rows: int
    notify_queue: float


class Tidied(NamedTuple):
    """What became of the ledger's partitions. ``busy``: nothing, because somebody reads it for long."""

    made: int
    dropped: list[str]
    bytes: int
    busy: bool


class Housekeeper:
    """Works on a connection of its own, off the way of the changes."""

    def __init__(self, connection: AsyncConnection[Any], lease: Lease, *, history_s: float) -> None:
        self._connection = connection
        self._lease = lease
        self.history_s = history_s
        self._ticks_trimmed_to = 0
        self._progress_trimmed_to = 0

    @property
    def server_encoding(self) -> str:
        return encoding_of(self._connection)

    async def reclaim(self) -> list[int]:
        """Empty the partitions that nobody needs any more. Returns their slots."""
        slots = [slot for (slot,) in await self._all("reclaimable", history_s=self.history_s)]
        return [slot for slot in slots if await self._reclaim(slot, self.history_s, force=False)]

    async def cut_history(self) -> int | None:
        """Empty the oldest partition that every webhook is past, of the kept history too. Returns its slot."""
        for (slot,) in await self._all("reclaimable", history_s=0.0):
            if await self._reclaim(slot, 0.0, force=False):
                return int(slot)
        return None

    async def drop_oldest(self) -> int | None:
        """Empty the oldest partition, acknowledged or not, and record the gaps. Returns its slot."""
        for (slot,) in await self._all("oldest_partition"):
            if await self._reclaim(slot, self.history_s, force=True):
                return int(slot)
        return None

    async def _reclaim(self, slot: int, history_s: float, *, force: bool) -> bool:
        parameters = {"slot": slot, "history_s": history_s, "force": force}
        (done,) = await self._one("reclaim", generation=self._lease.generation, **parameters)
        return bool(done)

    async def trim(self) -> None:
        """Delete ticks and progress that nothing stands on, in bulk, at the old end."""
        newest, _ = await self._one("newest_tick")
        upto = newest - KEPT_TICKS
        if upto > self._ticks_trimmed_to:
            await self._run("trim_ticks", after=self._ticks_trimmed_to, upto=upto)
            self._ticks_trimmed_to = upto
        await self._run("trim_hours")
        (newest_progress,) = await self._one("newest_progress")
        if newest_progress > self._progress_trimmed_to:
            await self._run("trim_progress", after=self._progress_trimmed_to, upto=newest_progress)
            # What was newest of a webhook now is trimmed later: begin then where the oldest of those stands.
            (self._progress_trimmed_to,) = await self._one("oldest_newest_progress")

    async def sizes(self) -> Sizes:
        return Sizes(*await self._one("sizes"))

    async def dead_letters(self) -> dict[str, tuple[int, int]]:
        """By webhook: how many there are, and how many deliveries are held for them."""
        return {name: (dead, held) for name, dead, held in await self._all("dead_letters")}

    async def tidy_ledger(self, keep_s: float, max_bytes: int | None) -> Tidied:
        """Make the ledger's partitions for the next days; drop those that are too old or, oldest first, too much."""
        parameters = {"generation": self._lease.generation, "keep_s": keep_s, "max_bytes": max_bytes}
        with translated():
            rows = await (await self._connection.execute(_TIDY_LEDGER, parameters)).fetchall()
        return Tidied(*rows[0])

    async def behind(self, places: dict[int, tuple[int, int]]) -> dict[int, tuple[int, float]]:
        """For webhooks at (tick, id): ids given out since, and seconds since their tick if there are any."""
        rows = await self._all(
            "behind",
            webhook_ids=list(places),
            ticks=[tick for tick, _ in places.values()],
            after_ids=[after_id for _, after_id in places.values()],
        )
        return {webhook_id: (int(backlog), float(lag_s)) for webhook_id, backlog, lag_s in rows}

    async def note_webhook(self, webhook_id: int, note: dict[str, Any]) -> None:
        """Write what ``status`` shows of a webhook."""
        await self._run("note_webhook", generation=self._lease.generation, webhook_id=webhook_id, **note)

    async def note_hour(self, webhook_id: int, sums: dict[str, Any]) -> None:
        """Add to the sums of this hour."""
        await self._run("note_hour", generation=self._lease.generation, webhook_id=webhook_id, **sums)

    async def _one(self, query: str, **parameters: Any) -> tuple[Any, ...]:
        return (await self._all(query, **parameters))[0]

    async def _all(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with translated():
            return await (await self._connection.execute(_SQL[query], parameters)).fetchall()

    async def _run(self, query: str, **parameters: Any) -> None:
        with translated():
            await self._connection.execute(_SQL[query], parameters)
