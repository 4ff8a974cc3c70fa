"""Tables rebuilt from deliveries alone, and compared with the originals inside PostgreSQL."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from tests.acceptance.inbox import Arrival

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")


@dataclass
class Replica:
    """What a receiver knows who applies each event once, in the order in which events first arrive."""

    keyless: frozenset[str] = frozenset()
    """Tables (as bodies name them) without a key: each of their inserts is a row of its own."""
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    """Rows by table (as bodies name it) and key. Rows are JSON as it was sent: nothing is lost by parsing."""
    disorder: list[str] = field(default_factory=list)
    """Rows whose events came in the wrong order."""
    _seen: dict[int, str] = field(default_factory=dict)
    _newest: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, arrivals: Iterable[Arrival]) -> None:
        for arrival in arrivals:
            for event, said in zip(arrival.events, _items(arrival.body.decode()), strict=True):
                if self._seen.setdefault(event, said) is said:
                    self._apply(arrival, event, dict(_members(said)))
                else:
                    assert self._seen[event] == said, f"event {event} came with two contents"

    def _apply(self, arrival: Arrival, event: int, item: dict[str, str]) -> None:
        rows = self.tables.setdefault(arrival.table, {})
        if arrival.action == "truncate":
            rows.clear()
            return
        key = f"#{event}" if arrival.table in self.keyless else _canonical(item["rowId"])
        touched = [key]
        if "previousRowId" in item:
            previous = _canonical(item["previousRowId"])
            rows.pop(previous, None)
            touched.append(previous)
        for one in touched:
            if self._newest.get((arrival.table, one), 0) > event:
                self.disorder.append(f"{arrival.table} {one}: {event} after {self._newest[arrival.table, one]}")
            self._newest[arrival.table, one] = event
        if arrival.action == "delete":
            rows.pop(key, None)
        else:
            rows[key] = item["data"]

    def differences(self, connection: psycopg.Connection[Any], display_name: str, table: str) -> list[str]:
        """As text: rows of the replica and not of the table (+), or the other way round (-). ``table``: a SQL name."""
        name = sql.SQL(table)  # type: ignore[arg-type]
        columns = connection.execute(
            "SELECT attname, atttypid = 'json'::regtype FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [table],
        ).fetchall()
        verbatim = [column for column, is_json in columns if is_json]
        chosen = [
            sql.SQL("raw.verbatim[{}]::json AS {}").format(verbatim.index(column) + 1, sql.Identifier(column))
            if is_json
            else sql.SQL("filled.{}").format(sql.Identifier(column))
            for column, is_json in columns
        ]
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE TEMP TABLE raw (line text, verbatim text[])")
            with connection.cursor().copy("COPY raw FROM STDIN") as copy:
                for row in self.tables.get(display_name, {}).values():
                    # Values of type json are taken as they are: PostgreSQL itself cannot read each back from a row.
                    copy.write_row(_without(row, verbatim) if verbatim else (row, []))
            connection.execute(
                sql.SQL(
                    "CREATE TEMP TABLE rebuilt AS SELECT {} FROM raw,"
                    " LATERAL json_populate_record(NULL::{}, raw.line::json) AS filled"
                ).format(sql.SQL(", ").join(chosen), name)
            )
            query = sql.SQL(
                "WITH ours AS (SELECT ROW(r.*)::text AS line FROM rebuilt r),"
                " theirs AS (SELECT ROW(o.*)::text AS line FROM {} o)"
                "(SELECT '+ ' || line FROM (SELECT line FROM ours EXCEPT ALL SELECT line FROM theirs) AS more)"
                " UNION ALL "
                "(SELECT '- ' || line FROM (SELECT line FROM theirs EXCEPT ALL SELECT line FROM ours) AS less)"
            ).format(name)
            return [row[0] for row in connection.execute(query)]


def _without(row: str, names: list[str]) -> tuple[str, list[str | None]]:
    """The row without these members, and their values."""
    members = dict(_members(row))
    taken = [members.pop(name) for name in names]
    rest = ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items())
    return f"{{{rest}}}", [None if value == "null" else value for value in taken]


def _items(body: str) -> Iterator[str]:
    """The items of a body, unparsed. Nothing in them but the list itself is called items at this place."""
    position = body.index('"items":[') + len('"items":[')
    while body[position] != "]":
        _, end = _DECODER.raw_decode(body, position)
        yield body[position:end]
        position = end + (body[end] == ",")


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Names and unparsed values of a JSON object."""
    position = 1
    while text[position] != "}":
        name, end = _DECODER.raw_decode(text, position)
        start = end + 1  # after the colon
        _, end = _DECODER.raw_decode(text, _after_space(text, start))
        end = _after_space(text, end)
        yield name, text[start:end]
        position = end + (text[end] == ",")


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def _canonical(key: str) -> str:
    return json.dumps(json.loads(key), sort_keys=True)
