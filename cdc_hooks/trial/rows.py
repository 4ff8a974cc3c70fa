"""A row of a table as its capture would log it: a sample made of the catalogs, or one that is there. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection, errors
from psycopg.rows import dict_row

from cdc_hooks import sql
from cdc_hooks.capture import Wanted
from cdc_hooks.capture.catalog import Column, Table
from cdc_hooks.capture.columns import pins, size
from cdc_hooks.capture.definition import key_json, literal, quoted, row_json
from cdc_hooks.capture.plan import all_tables, look_at_tables
from cdc_hooks.capture.selection import check_names, key_columns, selected_columns
from cdc_hooks.errors import ConfigError, DatabaseError
from cdc_hooks.trial import values
from cdc_hooks.trial.given import Row, parse_key

STATEMENT_TIMEOUT_MS = 10_000
_SQL = sql.queries("trial")
_ROW = "captured"


def sample_row(conn: Connection[Any], wanted: Wanted) -> Row:
    """A row with a plausible value in each captured column, whatever the table holds. Needs no rights on it."""
    with _reading(conn, wanted):
        table = _table(conn, wanted)
        columns, key = selected_columns(wanted, table), key_columns(wanted, table)
        types = values.columns(_rows(conn, "types", table=table.relation.oid))
        shown = table.columns if columns is None else columns
        made = [
            f"{values.value(types[column.name], key=column in key)} AS {column.sql_name}"
            for column in table.columns
            if column in shown or column in key
        ]
        return _read(conn, wanted, (shown, key), _statement("sample_row", columns, key, values=", ".join(made)))


def real_row(conn: Connection[Any], wanted: Wanted, given: str) -> Row:
    """The row with this key (see ``parse_key``) as it stands now. ConfigError where there is none; needs SELECT."""
    with _reading(conn, wanted):
        table = _table(conn, wanted)
        columns, key = selected_columns(wanted, table), key_columns(wanted, table)
        if not key:
            raise ConfigError(
                f"table {wanted.table} has no key to find a row by",
                hint=f"leave --row out for a made-up row, give --data FILE, or name a key at tables.{wanted.table}.key",
            )
        shown = table.columns if columns is None else columns
        wished = parse_key(given, [column.name for column in key])
        statement = _statement(
            "real_row",
            columns,
            key,
            size=size(shown, _ROW),
            max_bytes=str(wanted.max_row_bytes),
            table=table.sql_name,
            condition=" AND ".join(f"{_ROW}.{column.sql_name} = {literal(wished[column.name])}" for column in key),
        )
        try:
            return _read(conn, wanted, (shown, key), statement)
        except LookupError:
            raise ConfigError(
                f"table {wanted.table} has no row with the key {given}",
                hint=f"the key is {', '.join(column.name for column in key)}; "
                f"{conn.info.user} sees what row security lets it see",
            ) from None
        except (errors.DataError, errors.UndefinedFunction) as error:
            raise ConfigError(
                f"{given!r} cannot be a key of table {wanted.table}: {error.diag.message_primary}",
                hint=f"the key is {', '.join(f'{column.name} ({column.base_type})' for column in key)}",
            ) from error
        except errors.InsufficientPrivilege as error:
            raise DatabaseError(
                f"role {conn.info.user} may not read table {wanted.table}: {error.diag.message_primary}",
                hint="connect as one who may, such as its owner, with --dsn or database.admin_dsn; or run: "
                f"GRANT SELECT ON {table.sql_name} TO {quoted(conn.info.user)}; or leave --row out for a made-up row",
            ) from error


@contextmanager
def _reading(conn: Connection[Any], wanted: Wanted) -> Iterator[None]:
    """A transaction that can only read, not for long, and is rolled back."""
    try:
        with conn.transaction(force_rollback=True):
            _rows(conn, "limits", statement_timeout_ms=STATEMENT_TIMEOUT_MS)
            yield
    except errors.QueryCanceled as error:
        raise DatabaseError(
            f"table {wanted.table}: nothing could be read within {STATEMENT_TIMEOUT_MS / 1000:g} s",
            hint="look for a lock on the table, and whether its key has an index",
        ) from error


def _table(conn: Connection[Any], wanted: Wanted) -> Table:
    catalog = look_at_tables(conn, [wanted.table])
    check_names([wanted], catalog, all_tables(conn))
    return catalog.tables[wanted.table]


def _statement(name: str, columns: tuple[Column, ...] | None, key: tuple[Column, ...], **parts: str) -> str:
    return sql.text(f"trial/{name}.sql").format(key=key_json(_ROW, key), data=row_json(_ROW, columns), **parts)


def _read(
    conn: Connection[Any], wanted: Wanted, read: tuple[tuple[Column, ...], tuple[Column, ...]], statement: str
) -> Row:
    """The row that a statement gives, with the settings that a capture of these columns and this key pins."""
    for setting, to in pins((*read[0], *read[1])):
        _rows(conn, "pin", setting=setting, value=to)
    found = conn.execute(statement.encode()).fetchone()
    if found is None:
        raise LookupError
    key, data = found
    return Row.of(key, data, wanted.max_row_bytes)


def _rows(conn: Connection[Any], query: str, **parameters: Any) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL[query].encode(), parameters).fetchall()
