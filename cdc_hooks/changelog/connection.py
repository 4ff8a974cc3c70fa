"""Connections of the daemon, and the one place where psycopg's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from cdc_hooks.errors import DatabaseError, Superseded
from cdc_hooks.sql import queries

_SQL = queries("changelog")
SUPERSEDED = "CH001"
_TRANSIENT_CLASSES = ("08", "53", "57", "25006", "25P04", "40")
"""SQLSTATEs after which a fresh connection may help: connection, resources, shutdown, read-only, serialization."""


class ConnectionLost(DatabaseError):
    """The server cannot be reached or used for now; trying again later is right."""


async def connect(dsn: str, part: str, *, pooled: bool = False) -> AsyncConnection[TupleRow]:
    """An autocommit connection that notices a dead peer within about half a minute.

    ``pooled``: a transaction pooler is in between, so that no prepared statement may be relied on.
    """
    try:
        connection = await AsyncConnection.connect(
            dsn,
            autocommit=True,
            client_encoding="UTF8",
            application_name=f"cdc-hooks {part}",
            connect_timeout=10,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=20_000,
            prepare_threshold=None,
        )
    except psycopg.Error as error:
        # libpq gives no SQLSTATE for a connection that it did not get: any of it may pass, and is waited for.
        raise ConnectionLost(
            words(error),
            hint="look whether the server runs, and whether host, port, user and password in database.dsn are right",
        ) from error
    if not pooled:
        await settle_session(connection)
    return connection


async def settle_session(connection: AsyncConnection[TupleRow]) -> None:
    """Where the session is ours alone: prepared statements, and no time limits or isolation of the role's own."""
    connection.prepare_threshold = 2
    with translated():
        await connection.execute(_SQL["settle_session"])


def words(error: psycopg.Error) -> str:
    """What it says, in one line, without details and context: those quote the rows and the values of parameters."""
    return " ".join((error.diag.message_primary or str(error)).split())


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into ``Superseded``, ``ConnectionLost`` or ``DatabaseError``."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate
        if state == SUPERSEDED:
            raise Superseded("another daemon has taken over") from error
        if state is None or state.startswith(_TRANSIENT_CLASSES):
            raise ConnectionLost(words(error)) from error
        text = words(error)
        if state in {"42501", "42P01", "3F000", "42883"}:
            raise DatabaseError(
                text, hint="run: cdc-hooks plan, then cdc-hooks apply, as the database's owner"
            ) from error
        hint = None
        if state in {"22021", "22P05"}:
            hint = "a row of the change log is not valid in the database's encoding, or has no equivalent in UTF-8"
        raise DatabaseError(f"{text} (SQLSTATE {state})", hint=hint) from error


def encoding_of(connection: psycopg.Connection[Any] | AsyncConnection[Any]) -> str:
    """The encoding of its database: what it cannot store in texts."""
    return connection.info.parameter_status("server_encoding") or "UTF8"
