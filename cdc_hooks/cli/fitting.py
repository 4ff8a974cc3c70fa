"""Tables that fit a terminal: which columns are shown, how wide, and what becomes of sentences. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

GAP = 2
NARROWEST = 12
"""No column is cut to fewer characters."""
_ROOM_FOR_SENTENCES = 30


class Cell(NamedTuple):
    """A piece of a line. ``text`` fills its column; ``word`` is what it says."""

    text: str
    word: str


@dataclass(frozen=True)
class Table:
    """Rows under titles, and what may be done to them where there is little room."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    cut: Sequence[str] = ()
    """Titles of columns whose cells may be cut off."""
    spare: Sequence[str] = ()
    """Titles of columns that may be left out, the first of them first."""
    sentences: bool = False
    """Whether the last column has sentences: they are wrapped, not cut."""


class Fitted(NamedTuple):
    """``lines``: the first is that of the titles, unless the table is ``stacked``."""

    lines: list[list[Cell]]
    left_out: list[str]
    stacked: bool = False


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with the columns one below the other, however wide."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def fitted(table: Table, width: int, dots: str = "…") -> Fitted:
    """Nothing changes where there is room. Else columns are cut, then left out; at last each row is lines of its own.

    ``width`` in characters. ``dots`` stand for what is cut off.
    """
    rows = [list(map(_printable, row)) for row in (table.titles, *table.rows)]
    if not table.sentences or _length(_widths(rows)) <= width:
        return _columns(rows, table, width, dots) or _stacked(rows, width)
    said = [row.pop() for row in rows]
    found = _columns(rows, table, width, dots)
    if found is None:
        return _stacked([[*row, text] for row, text in zip(rows, said, strict=True)], width)
    taken = sum(cell_len(cell.text) + GAP for cell in found.lines[0])
    beside = width - taken >= _ROOM_FOR_SENTENCES
    lines: list[list[Cell]] = []
    for line, text in zip(found.lines, said, strict=True):
        room = max(width - (taken if beside else GAP), NARROWEST)
        first, *more = textwrap.wrap(text, room, break_on_hyphens=False) or [""]
        is_title = not lines
        if beside:
            lines.append([*line, Cell(first, first)])
        else:
            lines.append(line)
            more = [] if is_title else [first, *more]
        indent = " " * (taken if beside else GAP)
        lines += [[Cell(indent + one, one)] for one in more]
    return Fitted(lines, found.left_out)


def _columns(rows: Sequence[Sequence[str]], table: Table, width: int, dots: str) -> Fitted | None:
    titles = list(table.titles)
    shown = list(range(len(rows[0])))
    left_out: list[str] = []
    for title in (None, *table.spare):
        if title is not None:
            shown.remove(titles.index(title))
            left_out.append(title)
        widths = _cut(
            [[row[column] for column in shown] for row in rows], [titles[c] in table.cut for c in shown], width
        )
        if widths is not None:
            lines = [
                [Cell(_sized(row[column], size, dots), row[column]) for column, size in zip(shown, widths, strict=True)]
                for row in rows
            ]
            return Fitted(lines, left_out)
    return None


def _cut(rows: Sequence[Sequence[str]], may_be_cut: Sequence[bool], width: int) -> list[int] | None:
    """How wide the columns are: the widest of those that may be cut gives first. None where they cannot fit."""
    widths = _widths(rows)
    while _length(widths) > width:
        size, column = max(((size, column) for column, size in enumerate(widths) if may_be_cut[column]), default=(0, 0))
        if size <= NARROWEST:
            return None
        widths[column] -= 1
    return widths


def _stacked(rows: Sequence[Sequence[str]], width: int) -> Fitted:
    return Fitted(list(_stack(rows, width)), [], stacked=True)


def _stack(rows: Sequence[Sequence[str]], width: int) -> Iterator[list[Cell]]:
    titles, *others = rows
    for number, row in enumerate(others):
        if number:
            yield []
        for title, cell in zip(titles, row, strict=True):
            name = f"{title}: " if title else ""
            if cell_len(name + cell) <= width:
                yield [Cell(name.rstrip(), ""), Cell(cell, cell)] if name else [Cell(cell, cell)]
            else:
                wrapped = textwrap.wrap(name + cell, max(width, NARROWEST), subsequent_indent="  ")
                yield from ([Cell(one, one)] for one in wrapped)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _length(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _sized(text: str, size: int, dots: str) -> str:
    if cell_len(text) > size:
        text = set_cell_size(text, size - len(dots)) + dots
    return set_cell_size(text, size)


def _printable(text: str) -> str:
    """Without what would steer a terminal, or break the line."""
    return "".join(c if c.isprintable() else "?" for c in text)
