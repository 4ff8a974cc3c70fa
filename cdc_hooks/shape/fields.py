"""Some fields of a row, without parsing its values: each keeps the exact text that PostgreSQL gave it.

A JSON library would turn 0.10 into 0.1 and 1e200000 into infinity, refuse numbers of 5,000 digits, and give up on
values nested deeper than its stack. So the ends of values are found by their punctuation alone.

Rows of one table have the same columns in the same order. The first row is walked member by member; its layout makes a
regular expression that finds the same fields in the next rows in one match, about ten times faster. A row that does not
match (another layout, deeply nested values) is walked again.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR = rb'(?:%b|[^\s,"{}\[\]]++)' % _STRING
_PLAIN = rb'[^"{}\[\]]'

# A name, and then its value: whole if it is a scalar, else only the bracket that opens it.
_MEMBER = re.compile(rb"[\s,{]*+(%b)\s*+:\s*+(%b|[{\[])" % (_STRING, _SCALAR), re.DOTALL)
_TO_BRACKET = re.compile(rb"%b*+(?:%b%b*+)*+([{}\[\]])" % (_PLAIN, _STRING, _PLAIN), re.DOTALL)
_OPENING = (b"{", b"[")


class Selector:
    """Reduces the rows of one table to ``fields``, in that order; those that a row lacks are left out."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._names = _escaped(fields)
        self._layout: tuple[bytes, ...] | None = None
        self._match = re.compile(rb"(?!)").match  # nothing, until a layout is known
        self._groups: tuple[int, ...] = ()
        self._template = b""

    def __call__(self, row: bytes) -> bytes:
        found = self._match(row)
        if found is None:
            return self._walk(row)
        return self._template % tuple(map(found.group, self._groups))

    def _walk(self, row: bytes) -> bytes:
        layout: list[bytes] = []
        values: dict[bytes, bytes] = {}
        position, missing = 0, len(self._names)
        while missing and (member := _MEMBER.match(row, position)):
            name, value = member.groups()
            position = member.end()
            if value in _OPENING:
                start, position = member.start(2), _end_of_nested(row, position)
                value = row[start:position]
            layout.append(name)
            if name in self._names:
                values[name] = value
                missing -= 1
        if tuple(layout) != self._layout:
            self._learn(tuple(layout), whole=missing > 0)
        return b"{%b}" % b",".join([b"%b:%b" % (name, values[name]) for name in self._names if name in values])

    def _learn(self, layout: tuple[bytes, ...], *, whole: bool) -> None:
        self._layout = layout
        found = tuple(name for name in layout if name in self._names)
        sent = [name for name in self._names if name in found]
        self._match = _pattern(layout, found, whole).match
        self._groups = tuple(found.index(name) + 1 for name in sent)
        self._template = b"{%b}" % b",".join([name.replace(b"%", b"%%") + b":%b" for name in sent])


@lru_cache(maxsize=256)
def _pattern(layout: tuple[bytes, ...], found: tuple[bytes, ...], whole: bool) -> re.Pattern[bytes]:
    """Rows that begin with these members; ``whole``: and have no others. A group for the value of each in ``found``."""
    nested = rb"[{\[](?:%b++|%b)*+[}\]]" % (_PLAIN, _STRING)
    deeper = rb"[{\[](?:%b++|%b|%b)*+[}\]]" % (_PLAIN, _STRING, nested)
    value = rb"%b|%b" % (_SCALAR, deeper)
    members = rb",".join(
        [rb"%b:\s*+(%b%b)\s*+" % (re.escape(name), b"" if name in found else b"?:", value) for name in layout]
    )
    return re.compile(rb"\{%b%b" % (members, rb"\}\Z" if whole else rb"[,}]"), re.DOTALL)


def _end_of_nested(row: bytes, position: int) -> int:
    """Where the object or array ends whose opening bracket is just before ``position``."""
    depth = 1
    while depth:
        bracket = _TO_BRACKET.match(row, position)
        if bracket is None:
            raise ValueError(f"the row is not a JSON object: a bracket is never closed, {len(row)} bytes in all")
        depth += 1 if bracket[1] in _OPENING else -1
        position = bracket.end()
    return position


@lru_cache(maxsize=1024)
def _escaped(fields: tuple[str, ...]) -> tuple[bytes, ...]:
    """The names as PostgreSQL writes them: it escapes what ``json.dumps`` does, and in the same way."""
    return tuple(json.dumps(name, ensure_ascii=False).encode() for name in dict.fromkeys(fields))
