"""From what a column is made of to SQL for a plausible value of it. Pure.

A value is written in PostgreSQL's own types only, those that look the same in JSON: a domain by what it is based on, an
enum's label as text, a composite as JSON. So a role without USAGE on the schema of a type has samples of it, and no
code of the database's users is run (the CHECK of a domain, the input function of an extension's type).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdc_hooks import sql
from cdc_hooks.capture.definition import literal

_TEXT = "sample"
_DAY, _NEXT_DAY = "2026-01-31", "2026-02-01"
_MOMENT, _LATER = f"{_DAY} 12:30:00", f"{_DAY} 13:30:00"
_LITERALS = {
    "bool": "true",
    "int2": "1",
    "int4": "1",
    "int8": "1",
    "float4": "1.5",
    "float8": "1.5",
    "money": "10",
    "oid": "1",
    "text": _TEXT,
    "varchar": _TEXT,
    "bpchar": _TEXT,
    "name": _TEXT,
    "char": "s",
    "bytea": r"\x73616d706c65",
    "date": _DAY,
    "time": "12:30:00",
    "timetz": "12:30:00+00",
    "timestamp": _MOMENT,
    "timestamptz": f"{_MOMENT}+00",
    "interval": "1 hour",
    "json": "{}",
    "jsonb": "{}",
    "jsonpath": "$",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "inet": "192.0.2.1",
    "cidr": "192.0.2.0/24",
    "macaddr": "08:00:2b:01:02:03",
    "macaddr8": "08:00:2b:01:02:03:04:05",
    "bit": "1",
    "varbit": "1",
    "point": "(1,2)",
    "line": "{1,2,3}",
    "lseg": "[(0,0),(1,1)]",
    "box": "(1,1),(0,0)",
    "path": "((0,0),(1,1))",
    "polygon": "((0,0),(1,1),(1,0))",
    "circle": "<(0,0),1>",
    "tsvector": _TEXT,
    "tsquery": _TEXT,
    "pg_lsn": "0/1",
}
# The bounds of a range over these.
_BOUNDS = {
    "int4": ("1", "10"),
    "int8": ("1", "10"),
    "numeric": ("1", "10"),
    "float4": ("1.5", "10"),
    "float8": ("1.5", "10"),
    "date": (_DAY, _NEXT_DAY),
    "timestamp": (_MOMENT, _LATER),
    "timestamptz": (f"{_MOMENT}+00", f"{_LATER}+00"),
}
# A sequence does not come this far: a receiver that stores what it gets should not find a row of its own by this key.
_NO_KEY = {"int2": "32767", "int4": "2147483647", "int8": "2147483647"}
_LARGEST_NUMBER, _LARGEST_KEY = 10, 2147483647
_CONSTANT = re.compile(r"(?:'((?:[^']|'')*)'|(-?[0-9.]+)|(true|false))(?:::[\w\s\".(),]+)?")


@dataclass(frozen=True)
class Part:
    """A column, or a part of its type."""

    name: str | None
    """Of a column, or of an attribute of a composite type."""
    sql_name: str | None
    kind: str
    """``base``, ``domain``, ``enum``, ``array``, ``composite``, ``range`` or ``multirange``."""
    type_name: str | None
    """None for types that are not PostgreSQL's own."""
    category: str
    written: str
    """The type as SQL writes it, with its length."""
    typmod: int
    first_label: str | None
    default_sql: str | None
    parts: tuple[Part, ...]
    """Of a domain, an array or a range: the one type that it is made of; of a composite, its attributes."""


def columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, Part]:
    """The columns of a table by name, from the rows of the query ``types``."""
    below: dict[tuple[int, ...], list[Part]] = {}
    # From the innermost parts outwards.
    for row in sorted(rows, key=lambda row: (-len(row["path"]), row["path"])):
        path = tuple(row["path"])
        about = {name: value for name, value in row.items() if name != "path"}
        below.setdefault(path[:-1], []).append(Part(**about, parts=tuple(below.get(path, ()))))
    return {str(column.name): column for column in below.get((), ())}


def value(part: Part, *, key: bool = False) -> str:
    """SQL for a value. ``key``: one that hardly any row has. NULL where nobody knows how the type is written."""
    match part.kind:
        case "domain":
            (base,) = part.parts
            return value(base, key=key)
        case "enum":
            label = _constant(part) or part.first_label
            return "NULL::text" if label is None else f"{literal(label)}::text"
        case "array":
            (element,) = part.parts
            return f"ARRAY[{value(element)}]"
        case "composite":
            attributes = ", ".join(f"{value(one)} AS {one.sql_name}" for one in part.parts)
            return sql.text("trial/composite.sql").format(attributes=attributes).strip()
        case "range" | "multirange":
            (subtype,) = part.parts
            return _range(subtype, multiple=part.kind == "multirange")
        case _:
            return _base(part, key=key)


def _base(part: Part, *, key: bool) -> str:
    if part.type_name == "numeric":
        return f"{_number(part.typmod, _LARGEST_KEY if key else _LARGEST_NUMBER)}::{part.written}"
    known = (_NO_KEY.get(part.type_name or "") if key else _constant(part)) or _LITERALS.get(part.type_name or "")
    if known is not None:
        return f"{literal(known)}::{part.written}"
    # What is text to PostgreSQL is text in JSON, whoever made the type.
    return f"{literal(_TEXT)}::text" if part.category == "S" else "NULL::text"


def _number(typmod: int, largest: int) -> int:
    """A number that a numeric of this precision and scale can hold."""
    if typmod < 0:
        return largest
    precision, scale = (typmod - 4) >> 16, (((typmod - 4) & 0x7FF) ^ 0x400) - 0x400
    digits = precision - scale
    return min(largest, 10 ** (digits - 1)) if digits > 0 else 0


def _range(subtype: Part, *, multiple: bool) -> str:
    """As text, which is what a range is in JSON."""
    while subtype.kind == "domain":
        (subtype,) = subtype.parts
    bounds = _BOUNDS.get(subtype.type_name or "")
    if bounds is None:
        return literal("{}" if multiple else "empty") + "::text"
    low, high = (f'"{bound}"' if " " in bound else bound for bound in bounds)
    return literal(f"{{[{low},{high})}}" if multiple else f"[{low},{high})") + "::text"


def _constant(part: Part) -> str | None:
    """The default, where it is a constant that says something."""
    found = _CONSTANT.fullmatch(part.default_sql or "")
    if found is None:
        return None
    text, number, truth = found.groups()
    return text.replace("''", "'") if text is not None else number or truth
