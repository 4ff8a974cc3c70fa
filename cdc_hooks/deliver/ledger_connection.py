"""The ledger's own connection: when it is lost or too slow nobody else minds, and it is made anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import SUPERSEDED, ConnectionLost, encoding_of
from cdc_hooks.changelog.lease import Lease
from cdc_hooks.errors import DatabaseError, Superseded
from cdc_hooks.sql import queries

WRITE_S = 5.0
"""How long a statement may take: a table may be locked, a disk slow, a network gone."""
RECONNECT_S = 1.0
"""A connection that was lost is made anew no oftener than this; meanwhile nothing is written."""

_SQL = queries("ledger")


class NotWritten(DatabaseError):
    """The ledger cannot be written now. Nothing follows from it, but that it does not say what happened."""

    def __init__(self, message: str, sqlstate: str | None = None) -> None:
        super().__init__(message, hint="deliveries go on; cdc_hooks_ledger_lost_total counts what is missing")
        self.sqlstate = sqlstate


class LedgerConnection:
    """``connect`` opens a connection. All that goes wrong with it is NotWritten, or Superseded."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]], lease: Lease) -> None:
        self._connect = connect
        self._lease = lease
        self._connection: AsyncConnection[Any] | None = None
        self._opening = asyncio.Lock()
        self._not_before = 0.0
        self.server_encoding = "UTF8"

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def run(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """A query of ``ledger.sql``, fenced by the generation; its rows."""
        connection = await self._open()
        try:
            async with asyncio.timeout(WRITE_S):
                cursor = await connection.execute(_SQL[query], {"generation": self._lease.generation, **parameters})
                return await cursor.fetchall() if cursor.description else []
        except TimeoutError as error:
            await self._give_up(connection)
            raise NotWritten(f"no answer from the database within {WRITE_S:.0f} s") from error
        except psycopg.Error as error:
            if error.sqlstate == SUPERSEDED:
                raise Superseded("another daemon has taken over") from error
            if connection.closed:
                await self._give_up(connection)
            text = " ".join(str(error).split())
            raise NotWritten(
                f"{text} (SQLSTATE {error.sqlstate})" if error.sqlstate else text, error.sqlstate
            ) from error

    async def _open(self) -> AsyncConnection[Any]:
        async with self._opening:
            if self._connection is not None:
                return self._connection
            if time.monotonic() < self._not_before:
                raise NotWritten("the connection to the database was lost")
            self._not_before = time.monotonic() + RECONNECT_S
            try:
                async with asyncio.timeout(WRITE_S):
                    connection = await self._connect()
            except (ConnectionLost, TimeoutError) as error:
                raise NotWritten(str(error) or f"no connection to the database within {WRITE_S:.0f} s") from error
            self.server_encoding = encoding_of(connection)
            self._connection = connection
            return connection

    async def _give_up(self, connection: AsyncConnection[Any]) -> None:
        if self._connection is connection:
            self._connection = None
        with suppress(psycopg.Error):
            await connection.close()
