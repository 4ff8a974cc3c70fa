"""``deliveries export``: as JSON lines or CSV, streamed, for other programs."""

from __future__ import annotations

import base64
import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from psycopg.rows import dict_row

from cdc_hooks.cli.delivery_views import ENDED, iso
from cdc_hooks.errors import ConfigError
from cdc_hooks.ops.deliveries import attempts_of, with_filter

if TYPE_CHECKING:
    import psycopg

    from cdc_hooks.ops.deliveries import Filter, PastAttempt

_FETCHED = 200
"""Rows in memory at a time: each may hold a body, and answers."""
COLUMNS = (
    *("number", "webhook", "state", "kind", "message_id", "part_of", "resend_of", "table_name", "action", "row_ids"),
    *("event_count", "first_event", "last_event", "attempts", "first_attempt_at", "last_attempt_at", "next_attempt_at"),
    *("duration_s", "last_status", "last_error", "url", "secrets", "response_headers"),
    *("response_body", "response_body_base64", "body", "body_base64"),
)


class Writer(Protocol):
    def write(self, row: Mapping[str, Any], tried: list[PastAttempt]) -> None: ...


class JsonLines:
    """An object a line; keys of rows are JSON in it, and each attempt that failed an object."""

    def __init__(self, to: IO[str]) -> None:
        self._to = to

    def write(self, row: Mapping[str, Any], tried: list[PastAttempt]) -> None:
        attempts = [_portable(asdict(past)) for past in tried]
        data = {**row, "row_ids": json.loads(row["row_ids"]), "failed_attempts": attempts}
        self._to.write(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


class Csv:
    """With a line of titles."""

    def __init__(self, to: IO[str]) -> None:
        self._rows = csv.DictWriter(to, COLUMNS, lineterminator="\r\n")
        self._rows.writeheader()

    def write(self, row: Mapping[str, Any], tried: list[PastAttempt]) -> None:
        del tried  # there is room for the last answer only
        self._rows.writerow(row)


FORMATS: Mapping[str, type[JsonLines | Csv]] = {"jsonl": JsonLines, "csv": Csv}


@contextmanager
def written(output: Path | None) -> Iterator[IO[str]]:
    """A file for UTF-8 text, for its owner alone, as it holds rows; or stdout. ConfigError if it cannot be made."""
    if output is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        yield sys.stdout
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        if output.is_file():
            os.fchmod(descriptor, 0o600)  # also where there was a file before
    except OSError as error:
        raise ConfigError(
            f"--output {output} cannot be written: {error.strerror}", hint="name another file, or - for stdout"
        ) from error
    with file:
        yield file


def export(connection: psycopg.Connection[Any], wanted: Filter, to: Writer) -> int:
    """Write all deliveries that are wanted, the oldest first; how many."""
    count = 0
    with connection.transaction(), connection.cursor("deliveries", row_factory=dict_row) as cursor:
        cursor.execute(with_filter("export", ascending=True), asdict(wanted))
        while rows := cursor.fetchmany(_FETCHED):
            tried = attempts_of(connection, [row["number"] for row in rows])
            for row in rows:
                past = tried.get(row["number"], [])
                to.write(_portable(_with_last_answer(row, past)), past)
            count += len(rows)
    return count


def _with_last_answer(row: dict[str, Any], tried: list[PastAttempt]) -> dict[str, Any]:
    """Of a delivery that is not finished with, the last answer stands with the attempt."""
    if row["state"] in ENDED or not tried:
        return row
    return {**row, "response_headers": tried[-1].response_headers, "response_body": tried[-1].response_body}


def _portable(row: Mapping[str, Any]) -> dict[str, Any]:
    """Times as ISO 8601 in UTC; bodies as text, or as base64 in a column of their own."""
    data: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, datetime):
            data[name] = iso(value)
        elif name in _BODIES:
            data |= {name: None, f"{name}_base64": None, **_text_or_base64(name, value)}
        else:
            data[name] = value
    return data


_BODIES = frozenset({"body", "response_body"})


def _text_or_base64(name: str, body: bytes | None) -> dict[str, str]:
    if body is None:
        return {}
    try:
        return {name: body.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(body).decode()}
