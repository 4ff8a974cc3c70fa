"""Which columns of a table are captured, which are its key, and whether it can be captured at all. Pure.

Everything that is wrong with what is wanted is a ConfigError that names the table, and the nearest right name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cdc_hooks.capture.catalog import Catalog, Column, Table, nearest
from cdc_hooks.capture.wanted import MOST_ROW_BYTES, Wanted
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action

_KINDS = {
    "v": "a view",
    "m": "a materialised view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a composite type",
    "t": "a TOAST table",
}
_NO_TABLES = ("pg_catalog", "information_schema", "pg_toast", "cdc_hooks")


def selected_columns(wanted: Wanted, table: Table) -> tuple[Column, ...] | None:
    """The captured columns in the table's order; None: all, also those that are added later."""
    excluded = {column.name for column in _find(wanted, table, "exclude", wanted.exclude)}
    if wanted.columns is None:
        if not excluded and not any(column.virtual for column in table.columns):
            return None
        return tuple(c for c in table.columns if c.name not in excluded and not c.virtual)
    named = {column.name for column in _find(wanted, table, "columns", wanted.columns)}
    chosen = tuple(c for c in table.columns if c.name in named - excluded and not c.virtual)
    if not chosen:
        raise ConfigError(f"table {wanted.table}: no column is left to capture", hint="name at least one in columns")
    return chosen


def left_out(wanted: Wanted, table: Table) -> tuple[Column, ...]:
    """Virtual generated columns that were asked for: they have no value in a trigger."""
    asked = {c.name for c in _find(wanted, table, "columns", wanted.columns or ())} or {c.name for c in table.columns}
    excluded = {c.name for c in _find(wanted, table, "exclude", wanted.exclude)}
    return tuple(c for c in table.columns if c.virtual and c.name in asked - excluded)


def key_columns(wanted: Wanted, table: Table) -> tuple[Column, ...]:
    """The key's columns in the order of the primary key, or as ``key`` names them."""
    if wanted.key is None:
        return tuple(sorted((c for c in table.columns if c.key_position), key=lambda c: c.key_position))
    key = _find(wanted, table, "key", wanted.key)
    for column in key:
        if column.virtual:
            raise ConfigError(
                f"table {wanted.table}: key column {column.name} is a virtual generated column, without a value "
                "in a trigger",
                hint="name stored columns as the key",
            )
    return key


def check_names(wanted: Iterable[Wanted], catalog: Catalog, all_tables: Sequence[str]) -> None:
    """Every table exists, is named with its schema, is of a kind that can be captured, and is captured once."""
    for one in wanted:
        parts, table = catalog.parts[one.table], catalog.tables.get(one.table)
        if len(parts) == 1:
            candidates = [name for name in all_tables if name.endswith((f".{parts[0]}", f'."{parts[0]}"'))]
            raise ConfigError(
                f"table {one.table} is named without its schema",
                hint=f"write {' or '.join(candidates)}" if candidates else "write it as SCHEMA.TABLE",
            )
        if table is None:
            raise ConfigError(
                f"there is no table {one.table} in this database{nearest('.'.join(parts), all_tables)}",
                hint='names are read as SQL reads them: capitals and spaces need quotes, as in public."Order Items"',
            )
        check_fit(one, table)
    _check_once(tuple(wanted), catalog.tables)


def check_fit(wanted: Wanted, table: Table) -> None:
    """The table is of a kind that can be captured in this way, and has the columns that are asked for by name."""
    problem = _unfit(wanted, table)
    if problem:
        raise ConfigError(f"table {wanted.table}: {problem[0]}", hint=problem[1])
    _find(wanted, table, "fields", wanted.named)


def _unfit(wanted: Wanted, table: Table) -> tuple[str, str] | None:
    kind = table.relation.kind
    if table.schema in _NO_TABLES:
        return "is a table of PostgreSQL or of cdc-hooks itself", "capture tables of your own"
    if kind not in ("r", "p"):
        return (
            f"is {_KINDS.get(kind, 'no table')}, and has no row triggers to capture with",
            "capture the tables beneath",
        )
    if any(character < " " for character in wanted.table):
        return "has a control character in its name", "rename it"
    if table.persistence == "t":
        return "is a temporary table", "capture permanent tables"
    if wanted.max_row_bytes > MOST_ROW_BYTES:
        return f"max_row_bytes is {wanted.max_row_bytes}, at most {MOST_ROW_BYTES} is possible", "choose less"
    if wanted.level == "statement":
        return _unfit_for_statement(wanted, table)
    return None


def _unfit_for_statement(wanted: Wanted, table: Table) -> tuple[str, str] | None:
    if table.relation.kind == "p" or table.has_parent or table.members:
        return (
            "level: statement would miss rows written to its partitions and children, or by way of its parent",
            "use level: row for this table",
        )
    if wanted.when is not None:
        return "level: statement knows no condition, because its trigger sees no single row", "use level: row with when"
    return None


def _check_once(wanted: Sequence[Wanted], tables: Mapping[str, Table]) -> None:
    roots: dict[int, Wanted] = {}
    for one in wanted:
        other = roots.setdefault(tables[one.table].relation.oid, one)
        if other is not one:
            raise ConfigError(f"tables {other.table} and {one.table} are the same", hint="name it once")
    for one in wanted:
        for member in tables[one.table].members:
            other_one = roots.get(member.oid)
            if other_one is not None and other_one.actions & one.actions - {Action.TRUNCATE}:
                raise ConfigError(
                    f"table {other_one.table} belongs to {one.table}, and would be captured twice",
                    hint=f"name one of the two: {one.table} captures its partitions and children too",
                )


def _find(wanted: Wanted, table: Table, what: str, names: Sequence[str]) -> tuple[Column, ...]:
    by_name = {column.name: column for column in table.columns}
    found = []
    for name in names:
        column = by_name.get(name) or by_name.get(_as_identifier(name))
        if column is None:
            raise ConfigError(
                f"table {wanted.table} has no column {name} (named in {what}){nearest(name, by_name)}",
                hint=f"its columns are: {', '.join(by_name)}",
            )
        found.append(column)
    return tuple(found)


def _as_identifier(name: str) -> str:
    """A name as SQL reads it: quotes off, or folded to lower case."""
    if len(name) > 2 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name.lower()
