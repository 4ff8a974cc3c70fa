"""What a table's column types ask for: settings to pin, and a guard against rows that are too large. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cdc_hooks.capture.catalog import Column

_FLOATS = frozenset({"float4", "float8", "point", "lseg", "path", "box", "polygon", "line", "circle"})
# The setting, its value, the types whose text follows it everywhere, and those that follow it only within a range
# (elsewhere the json functions write dates and times in ISO format themselves).
_PINS = (
    ("TimeZone", "UTC", frozenset({"timestamptz"}), frozenset({"timestamptz"})),
    ("DateStyle", "ISO", frozenset[str](), frozenset({"date", "timestamp", "timestamptz"})),
    # ISO 8601 durations (P1DT2H), because receivers have parsers for those and not for PostgreSQL's own style.
    ("IntervalStyle", "iso_8601", frozenset({"interval"}), frozenset({"interval"})),
    ("bytea_output", "hex", frozenset({"bytea"}), frozenset({"bytea"})),
    ("extra_float_digits", "1", _FLOATS, _FLOATS),
    ("lc_monetary", "C", frozenset({"money"}), frozenset({"money"})),
)
# Nobody knows what the output of an extension's type follows.
_UNKNOWN = frozenset({"unknown"})

# The most that a value of these types can come to in JSON, in bytes. For those with a length in brackets: per unit.
_SMALL = 400
_BOUNDED = {"inet": _SMALL, "cidr": _SMALL, "int4range": _SMALL, "int8range": _SMALL, "daterange": _SMALL,
            "tsrange": _SMALL, "tstzrange": _SMALL, "numeric": 150_000}  # fmt: skip
_BY_LENGTH = {"varchar": 6, "bpchar": 6, "bit": 1, "varbit": 1}
# Of these the length is known before they are fetched and unpacked.
_RAW_LENGTH = frozenset({"text", "varchar", "bpchar", "bytea"})


def pins(columns: Collection[Column]) -> tuple[tuple[str, str], ...]:
    """The settings that the output of these columns follows, with the values to pin them to."""
    plain = frozenset[str]().union(*(column.plain for column in columns))
    ranged = frozenset[str]().union(*(column.ranged for column in columns))
    return tuple(
        (setting, value)
        for setting, value, everywhere, in_ranges in _PINS
        if plain & (everywhere | _UNKNOWN) or ranged & (in_ranges | _UNKNOWN)
    )


def needs_guard(columns: Iterable[Column], max_bytes: int) -> bool:
    """Whether a row of these columns can come to more than ``max_bytes`` in JSON."""
    total = 2
    for column in columns:
        most = _most_bytes(column)
        if most is None:
            return True
        total += most + 6 * len(column.name.encode()) + 4
    return total > max_bytes


def size(columns: Iterable[Column], row: str) -> str:
    """SQL for how much a row's values hold, found without fetching a value that is stored out of line."""
    measured = [
        f"coalesce(pg_catalog.{_measure(column)}({row}.{column.sql_name}), 0)"
        for column in columns
        if column.length < 0 and column.base_type not in _BOUNDED
    ]
    # bigint: a row of several values of 1 GB is beyond an integer.
    return " + ".join(["0::pg_catalog.int8", *measured])


def _measure(column: Column) -> str:
    return "octet_length" if column.base_type in _RAW_LENGTH else "pg_column_size"


def _most_bytes(column: Column) -> int | None:
    if column.length > 0:
        return _SMALL
    if column.base_type in _BY_LENGTH:
        return column.typmod * _BY_LENGTH[column.base_type] if column.typmod > 0 else None
    return _BOUNDED.get(column.base_type)
