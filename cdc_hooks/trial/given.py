"""What is given on the command line: the key of a row, or a row's data. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from cdc_hooks.capture import Wanted
from cdc_hooks.errors import ConfigError
from cdc_hooks.ops import row_key
from cdc_hooks.shape.fields import Selector
from cdc_hooks.trial.layout import compact


class Row(NamedTuple):
    """A row as a capture would log it. JSON, as in ``Change``."""

    key: bytes | None
    data: bytes | None
    truncated: bool = False
    note: str | None = None
    """What of it is not as it would really be."""

    @classmethod
    def of(cls, key: str | None, data: str | None, max_bytes: int, note: str | None = None) -> Row:
        """``data``: None where it is known to be larger than ``max_bytes``."""
        encoded = None if data is None else data.encode()
        fits = encoded is not None and len(encoded) <= max_bytes
        return cls(None if key is None else key.encode(), encoded if fits else None, not fits, note)


NO_ROW = Row(None, None)
"""Of a truncate."""


def parse_key(given: str, names: Sequence[str]) -> dict[str, str]:
    """The value of each key column, as text; see ``row_key``. ConfigError where it is no key of these columns."""
    key = row_key.parse(given)
    if len(names) == 1:
        return {names[0]: key.text}
    if key.columns is None or set(key.columns) != set(names):
        ways = json.dumps(dict.fromkeys(names, "…"), ensure_ascii=False), ",".join(f"{name}=…" for name in names)
        raise ConfigError(
            f"--row {given!r} is not a key of several columns: {', '.join(names)}",
            hint=f"write '{ways[0]}' or '{ways[1]}'",
        )
    return {name: key.columns[name] for name in names}


def parse_data(content: bytes, source: str, wanted: Wanted) -> Row:
    """A row's data, one JSON object of columns, as text. ConfigError, which names the line, where it is not."""
    data = _object(content, source)
    for column in wanted.exclude:
        if column in data:
            raise ConfigError(
                f"{source}: column {column} is excluded at tables.{wanted.table}.exclude", hint="leave it out"
            )
    text = compact(content.decode("utf-8-sig"))
    if wanted.key is None:
        note = (
            f"the key of {wanted.table} is not known without the database: rowId is 0; "
            f"to have it taken from the data, name its columns in tables.{wanted.table}.key"
        )
        return Row.of(None, text, wanted.max_row_bytes, note)
    missing = [column for column in wanted.key if column not in data]
    if missing:
        raise ConfigError(
            f"{source}: there is no {missing[0]}, which belongs to the key",
            hint=f"the key is {', '.join(wanted.key)} (tables.{wanted.table}.key)",
        )
    key = Selector(wanted.key)(text.encode()).decode()
    if len(wanted.key) == 1:
        key = key[len(json.dumps(wanted.key[0], ensure_ascii=False)) + 2 : -1]
    return Row.of(None if key == "null" else key, text, wanted.max_row_bytes)


def _object(content: bytes, source: str) -> dict[str, object]:
    try:
        data = json.loads(content.decode("utf-8-sig"), parse_int=str, parse_float=str, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: not UTF-8 text", hint="save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{source}:{error.lineno}: not JSON: {error.msg}, column {error.colno}", hint=_FORM
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply", hint=_FORM) from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: not an object, but {content.strip()[:20].decode(errors='replace')}…", hint=_FORM)
    return data


_FORM = 'give a row\'s data as one JSON object: {"id": 17, "status": "paid"}'


def _no_number(name: str) -> NoReturn:
    raise ConfigError(f"{name} is no number in JSON", hint='PostgreSQL writes it as a text: "NaN", "Infinity"')
