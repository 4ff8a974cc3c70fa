"""The key of a row as a person gives it: in the same way to all commands. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

WAYS = """17, c-1, a=1,b=x, or as in the body's rowId: "c-1", {"a": 1, "b": "x"}"""


class RowKey(NamedTuple):
    """``text``: the value, of a key of one column. ``columns``: the values, as text, of one of several."""

    text: str
    columns: Mapping[str, str] | None


def parse(given: str) -> RowKey:
    """``17``, ``c-1``, ``"c-1"``, ``a=1,b=x`` or ``{"a": 1, "b": "x"}``. Anything else is a text."""
    try:
        # Numbers keep their digits.
        value = json.loads(given, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return RowKey(given, _pairs(given))
    if isinstance(value, str):  # a number, too, as it is written
        return RowKey(value, None)
    if isinstance(value, dict) and all(isinstance(one, (str, bool)) for one in value.values()):
        return RowKey(given, {name: one if isinstance(one, str) else str(one).lower() for name, one in value.items()})
    return RowKey(given, None)


def json_forms(value: str) -> list[str]:
    """The JSON of a value that is known as text: as it stands, for a number, and as a string."""
    return list(dict.fromkeys([value, json.dumps(value, ensure_ascii=False), json.dumps(value)]))


def _pairs(given: str) -> Mapping[str, str] | None:
    pairs = [part.partition("=") for part in given.split(",")]
    return {name.strip(): value for name, _, value in pairs} if all(equals for _, equals, _ in pairs) else None
