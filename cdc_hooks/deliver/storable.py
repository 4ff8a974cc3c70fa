"""Texts of strangers made fit for PostgreSQL: no insert may fail for what a receiver said. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SEPARATOR, END = "\x1f", "\x1e"
"""Stand between the values of a record and between records, so they stand in none."""

_BAD = str.maketrans(dict.fromkeys((0, ord(SEPARATOR), ord(END)), "\N{REPLACEMENT CHARACTER}"))
_UNICODE = frozenset({"UTF8", "SQL_ASCII"})


def storable(text: str, server_encoding: str = "UTF8") -> str:
    r"""Without NUL, separators and lone surrogates; where the server's encoding lacks characters, those beyond ASCII
    are written as ``\u2192``.
    """
    if not text.isascii():
        if server_encoding in _UNICODE:
            text = text.encode("utf-8", "replace").decode()
        else:
            text = text.encode("ascii", "backslashreplace").decode()
    if "\0" in text or SEPARATOR in text or END in text:
        text = text.translate(_BAD)
    return text if text.isascii() or server_encoding in _UNICODE else text.encode("ascii", "replace").decode()


def header_lines(headers: Iterable[tuple[str, str]]) -> str:
    """One line each, as in HTTP; whatever line breaks a value has, it stays one line."""
    pairs = list(headers)
    lines = "\n".join(map(": ".join, pairs))
    if lines.count("\n") >= max(len(pairs), 1) or "\r" in lines:
        lines = "\n".join([f"{name}: {' '.join(value.splitlines())}" for name, value in pairs])
    return lines


def record(values: Iterable[str | int | float | bytes | None]) -> str:
    """Values as the queries of ``ledger.sql`` take them: nothing stands for None."""
    return SEPARATOR.join(
        [
            "" if value is None else value if type(value) is str else _written(value)  # most are texts
            for value in values
        ]
    )


def _written(value: float | bytes | str) -> str:
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
