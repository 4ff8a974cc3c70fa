"""``deliveries export``: as JSON lines or CSV, streamed, for other programs."""

from __future__ import annotations

import base64
import csv
import json
from dataclasses import asdict
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Protocol

from psycopg.rows import dict_row

from cdc_hooks.cli.delivery_views import iso
from cdc_hooks.ops.deliveries import with_filter

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from cdc_hooks.ops.deliveries import Filter

_FETCHED = 200
"""Rows in memory at a time: each may hold a body."""
COLUMNS = (
    *("number", "webhook", "state", "kind", "message_id", "part_of", "resend_of", "table_name", "action", "row_ids"),
    *("event_count", "first_event", "last_event", "attempts", "first_attempt_at", "last_attempt_at", "next_attempt_at"),
    *("duration_s", "last_status", "last_error", "url", "secrets", "response_headers"),
    *("response_body", "response_body_base64", "body", "body_base64"),
)


class Writer(Protocol):
    def write(self, row: Mapping[str, Any]) -> None: ...


class JsonLines:
    """An object a line; keys of rows are JSON in it."""

    def __init__(self, to: IO[str]) -> None:
        self._to = to

    def write(self, row: Mapping[str, Any]) -> None:
        data = {**row, "row_ids": json.loads(row["row_ids"])}
        self._to.write(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


class Csv:
    """With a line of titles."""

    def __init__(self, to: IO[str]) -> None:
        self._rows = csv.DictWriter(to, COLUMNS, lineterminator="\r\n")
        self._rows.writeheader()

    def write(self, row: Mapping[str, Any]) -> None:
        self._rows.writerow(row)


FORMATS: Mapping[str, type[JsonLines | Csv]] = {"jsonl": JsonLines, "csv": Csv}


def export(connection: psycopg.Connection[Any], wanted: Filter, to: Writer) -> int:
    """Write all deliveries that are wanted, the oldest first; how many."""
    count = 0
    with connection.transaction(), connection.cursor("deliveries", row_factory=dict_row) as cursor:
        cursor.itersize = _FETCHED
        cursor.execute(with_filter("export", ascending=True), asdict(wanted))
        for row in cursor:
            to.write(_portable(row))
            count += 1
    return count


def _portable(row: dict[str, Any]) -> dict[str, Any]:
    """Times as ISO 8601 in UTC; bodies as text, or as base64 in a column of their own."""
    data = dict.fromkeys(COLUMNS)
    for name, value in row.items():
        if isinstance(value, datetime):
            data[name] = iso(value)
        elif isinstance(value, bytes):
            try:
                data[name] = value.decode()
            except UnicodeDecodeError:
                data[f"{name}_base64"] = base64.b64encode(value).decode()
        else:
            data[name] = value
    return data
