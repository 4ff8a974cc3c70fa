"""Connections of the commands. Here psycopg's error on connecting becomes ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from cdc_hooks.changelog.connection import ConnectionLost, translated, words
from cdc_hooks.config.dsn import show_dsn
from cdc_hooks.errors import ConfigError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cdc_hooks.config import Database

_CONNECT_TIMEOUT_S = 10


def admin_dsn(given: str | None, database: Database) -> str:
    """How the DBA's commands connect: --dsn, else database.admin_dsn, else database.dsn."""
    return given or (database.admin_dsn or database.dsn).get_secret_value()


@contextmanager
def connected(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit connection. Raises DatabaseError, which never holds the password."""
    try:
        where = show_dsn(dsn)
    except ValueError as error:
        raise ConfigError(f"--dsn: {error}") from error
    try:
        connection = psycopg.connect(
            dsn,
            autocommit=True,
            client_encoding="UTF8",
            connect_timeout=_CONNECT_TIMEOUT_S,
            application_name="cdc-hooks",
        )
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"cannot connect to {where or 'the default database'}: {words(error)}",
            hint=f"look whether the server runs, and whether host, port, user and password are right: psql '{where}'; "
            "a daemon's role that does not exist yet is made by cdc-hooks apply",
        ) from error
    try:
        with connection, translated():
            yield connection
    except ConnectionLost as error:
        raise DatabaseError(
            f"the connection to {where or 'the default database'} was lost: {error.message}",
            hint="run it again when the server is back; status says how far everything is",
        ) from error
