"""From a wanted capture and the table as it is: the functions and triggers that must be there. Pure.

Quoted names come from the server (``quote_ident``), literals from ``psycopg.sql``, templates from ``sql/capture``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql as pgsql

from cdc_hooks import __version__, sql
from cdc_hooks.capture.catalog import Column, Relation, Table, names_in_comment
from cdc_hooks.capture.columns import needs_guard, pins, size
from cdc_hooks.capture.selection import key_columns, selected_columns
from cdc_hooks.capture.wanted import Wanted
from cdc_hooks.model import Action

LETTERS = {Action.INSERT: "I", Action.UPDATE: "U", Action.DELETE: "D", Action.TRUNCATE: "T"}
# pg_trigger.tgtype
_ROW, _TYPE_BITS = 1, {Action.INSERT: 4, Action.DELETE: 8, Action.UPDATE: 16, Action.TRUNCATE: 32}
_TRANSITION = {
    Action.INSERT: "REFERENCING NEW TABLE AS new_rows\n",
    Action.UPDATE: "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows\n",
    Action.DELETE: "REFERENCING OLD TABLE AS old_rows\n",
}
_LONGEST_NAME = 63
_DIGEST = re.compile(r" (sha256:[0-9a-f]+)")

# Values of these types that are equal are written the same.
_EQUAL_IS_IDENTICAL = frozenset({"int2", "int4", "int8", "uuid", "bool", "date", "oid"})


@dataclass(frozen=True)
class Function:
    name: str
    body: str
    settings: tuple[tuple[str, str], ...]

    @property
    def sql(self) -> str:
        """CREATE OR REPLACE, and REVOKE from PUBLIC."""
        quote = "$cdc_hooks$"
        while quote in self.body:
            quote = f"{quote[:-1]}_$"
        return template(
            "function",
            function=self.name,
            # A list of names, not a literal: quoted, the whole list would be one name.
            settings="\n".join(
                f"SET {name} = {value if name == 'search_path' else literal(value)}" for name, value in self.settings
            ),
            quote=quote,
            body=self.body,
        )


@dataclass(frozen=True)
class Trigger:
    relation: Relation
    action: Action
    function: str
    level: str
    condition: str | None
    partitions: tuple[str, ...]

    @property
    def name(self) -> str:
        return trigger_name(self.action)

    @property
    def type(self) -> int:
        return _TYPE_BITS[self.action] | (_ROW if self.level == "row" else 0)

    @property
    def create_sql(self) -> str:
        transition = "" if self.level == "row" or self.action is Action.TRUNCATE else _TRANSITION[self.action]
        return template(
            "trigger",
            trigger=quoted(self.name),
            event=self.action.upper(),
            table=self.relation.sql_name,
            transition=transition,
            level=self.level.upper(),
            # On a line of its own: the condition may end in a comment.
            condition=f"WHEN ({self.condition}\n) " if self.condition else "",
            function=self.function,
        )

    @property
    def enable_sql(self) -> str:
        return enable_sql(self.relation.sql_name, self.name)

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.create_sql.encode()).hexdigest()[:16]}"

    @property
    def comment_sql(self) -> str:
        partitions = f"; partitions: {names_in_comment(self.partitions)}" if self.partitions else ""
        return template(
            "comment",
            trigger=quoted(self.name),
            table=self.relation.sql_name,
            comment=literal(f"cdc-hooks {__version__} {self.digest}{partitions}"),
        )

    @property
    def sql(self) -> str:
        return self.create_sql + self.enable_sql + self.comment_sql


@dataclass(frozen=True)
class Capture:
    """What captures one action of one table: a function, and a trigger on the table and on each inheritance child."""

    action: Action
    function: Function
    triggers: tuple[Trigger, ...]


def captures(wanted: Wanted, table: Table) -> tuple[Capture, ...]:
    """The captures of one table. ConfigError, where columns are named that the table does not have."""
    columns, key = selected_columns(wanted, table), key_columns(wanted, table)
    return tuple(_capture(wanted, table, action, columns, key) for action in Action if action in wanted.actions)


def digest_in(comment: str) -> str | None:
    """The digest that a trigger's comment holds."""
    found = _DIGEST.search(comment)
    return found[1] if found else None


def trigger_name(action: Action) -> str:
    return f"00_cdc_hooks_{action.value}"


def function_name(table: Table, action: Action) -> str:
    """``capture_SCHEMA_TABLE_ACTION``; with a digest where that would be too long, or could be another table's too."""
    name = f"capture_{table.schema}_{table.name}_{action.value}"
    # The first underscore after capture_ ends the schema, if that has none.
    if (
        re.fullmatch("[a-z0-9]+", table.schema)
        and re.fullmatch("[a-z0-9_]+", table.name)
        and len(name) <= _LONGEST_NAME
    ):
        return name
    digest = hashlib.sha256(table.log_name.encode()).hexdigest()[:12]
    readable = re.sub("[^a-z0-9_]", "_", f"{table.schema}_{table.name}".lower())
    room = _LONGEST_NAME - len(f"capture__{digest}_{action.value}")
    return f"capture_{readable[:room]}_{digest}_{action.value}"


def template(name: str, **parts: str) -> str:
    """``sql/capture/NAME.sql`` with its {parts} put in."""
    return sql.text(f"capture/{name}.sql").format(**parts)


def literal(value: str | int) -> str:
    return pgsql.Literal(value).as_string(None).strip()


def quoted(name: str) -> str:
    return pgsql.Identifier(name).as_string(None)


def enable_sql(table: str, trigger: str) -> str:
    return template("enable", table=table, trigger=quoted(trigger))


def _capture(
    wanted: Wanted, table: Table, action: Action, columns: tuple[Column, ...] | None, key: tuple[Column, ...]
) -> Capture:
    function = _function(wanted, table, action, columns, key)
    level = "statement" if action is Action.TRUNCATE else wanted.level
    on = (table.relation, *(() if action is Action.TRUNCATE else table.children))
    partitions = tuple(member.sql_name for member in table.partitions)
    return Capture(
        action,
        function,
        tuple(
            Trigger(
                relation=relation,
                action=action,
                function=function.name,
                level=level,
                condition=wanted.condition(action),
                partitions=partitions if relation is table.relation else (),
            )
            for relation in on
        ),
    )


def _function(
    wanted: Wanted, table: Table, action: Action, columns: tuple[Column, ...] | None, key: tuple[Column, ...]
) -> Function:
    chosen = table.columns if columns is None else columns
    row = "captured" if wanted.level == "statement" else ("OLD" if action is Action.DELETE else "NEW")
    guarded = needs_guard(chosen, wanted.max_row_bytes)
    body = template(
        _body(wanted, action, guarded=guarded, keyed=bool(key)),
        action=action.value,
        table=re.sub(r"\s", " ", table.log_name),
        letter=literal(LETTERS[action]),
        table_name=literal(table.log_name),
        key=key_json(row, key),
        old_key=key_json("OLD", key),
        key_changed=_key_changed(key),
        data=row_json(row, columns),
        size=size(chosen, row),
        max_bytes=str(wanted.max_row_bytes),
        rows="old_rows" if action is Action.DELETE else "new_rows",
        ring=sql.text("capture/ring.sql").strip(),
    )
    pinned = () if action is Action.TRUNCATE else pins((*chosen, *key))
    return Function(
        name=function_name(table, action), body=body, settings=(("search_path", "pg_catalog, pg_temp"), *pinned)
    )


def _body(wanted: Wanted, action: Action, *, guarded: bool, keyed: bool) -> str:
    """Which template makes the function's body."""
    follows_key = action is Action.UPDATE and keyed
    if action is Action.TRUNCATE:
        return "truncate"
    if wanted.level == "statement":
        return "statement_update" if follows_key else "statement"
    return ("update" if follows_key else "row") + ("_guarded" if guarded else "")


def key_json(row: str, key: tuple[Column, ...]) -> str:
    """SQL for the key's JSON as text: of a row by this name."""
    if not key:
        return "NULL"
    if len(key) == 1:
        return f"pg_catalog.to_json({row}.{key[0].sql_name})::pg_catalog.text"
    return row_json(row, key)


def row_json(row: str, columns: tuple[Column, ...] | None) -> str:
    """SQL for the row's JSON as text: of all columns that it has when it is written, or of these."""
    if columns is None:
        return f"pg_catalog.row_to_json({row}.*)::pg_catalog.text"
    return template("json_of_columns", columns=_list(row, columns)).strip()


def _key_changed(key: tuple[Column, ...]) -> str:
    """SQL for whether an update gave the row another key, also one that is equal but written otherwise (1.0, 1.00)."""
    if all(column.base_type in _EQUAL_IS_IDENTICAL for column in key):  # the usual keys, at a fraction of the price
        return " OR ".join(f"NEW.{column.sql_name} IS DISTINCT FROM OLD.{column.sql_name}" for column in key)
    return f"{_record('NEW', key)} OPERATOR(pg_catalog.*<>) {_record('OLD', key)}"


def _record(row: str, columns: tuple[Column, ...]) -> str:
    return f"ROW({_list(row, columns)})::pg_catalog.record"


def _list(row: str, columns: Iterable[Column]) -> str:
    return ", ".join(f"{row}.{column.sql_name}" for column in columns)
