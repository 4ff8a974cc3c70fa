"""Help for tests of the change log: a database with the schema, and a daemon's view of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cdc_hooks import sql
from cdc_hooks.changelog.connection import connect
from cdc_hooks.changelog.journal import Journal
from cdc_hooks.changelog.lease import Lease, new_holder, take_lead
from cdc_hooks.changelog.reader import Reader
from cdc_hooks.changelog.window import Window
from cdc_hooks.model import Change


def install(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.text("schema.sql").encode())
        connection.execute("INSERT INTO cdc_hooks.migration (version) VALUES (1)")


def append(connection: psycopg.Connection[Any], key: int, data: str = "{}", action: str = "U") -> None:
    """What a capture function does."""
    connection.execute(
        "INSERT INTO cdc_hooks.change (action, table_name, key, data) VALUES (%s, 'public.orders', %s, %s)",
        (action, str(key), data),
    )


@dataclass
class Log:
    """A leading daemon's access to the log."""

    connection: AsyncConnection[Any]
    lease: Lease
    journal: Journal
    reader: Reader

    async def window(self) -> Window | None:
        return (await self.journal.look()).window

    async def read(self, window: Window) -> list[Change]:
        """All changes of a window, page by page."""
        changes: list[Change] = []
        after_id, last = window.after_id, False
        while not last:
            page = await self.reader.page(window, after_id)
            changes += page.changes
            after_id, last = page.to_id, page.last
        return changes


@asynccontextmanager
async def open_log(dsn: str) -> AsyncIterator[Log]:
    connections = [await connect(dsn, "test") for _ in range(3)]
    try:
        lease = await take_lead(connections[0], new_holder())
        assert lease is not None
        yield Log(connections[0], lease, Journal(connections[0], lease), Reader(connections[1], connections[2]))
    finally:
        for connection in connections:
            await connection.close()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())
