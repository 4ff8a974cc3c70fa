"""How results look: tables on a terminal, aligned text in a pipe, JSON for scripts."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

COLOURS = {
    "ok": "green",
    "warning": "yellow",
    "error": "red",
    "active": "green",
    "retrying": "yellow",
    "open": "red",
    "paused": "red",
    "retired": "dim",
    "pending": "yellow",
    "held": "yellow",
    "rejected": "red",
    "dead": "red",
    "failed": "red",
    "delivered": "green",
    "resent": "green",
}


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """``rows`` under ``titles``, with known words in colour on a terminal."""
    if sys.stdout.isatty():
        table = Table(*titles, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(f"[{COLOURS[cell]}]{cell}[/]" if cell in COLOURS else escape(cell) for cell in row))
        Console().print(table)
        return
    for line in aligned([titles, *rows]):
        click.echo(line)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text with the columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, ensure_ascii=False, indent=2, default=str))


def printable(text: str) -> str:
    """A stranger's text, or a row's, without what would steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def ago(seconds: float | None) -> str:
    """A time span as one looks at it: ``40 s``, ``3 min``, ``5 h``, ``12 d``."""
    if seconds is None:
        return "-"
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def confirmed(question: str) -> bool:
    """Whether a person says yes; who does not is told that nothing was done."""
    try:
        if click.confirm(question, err=True):
            return True
    except click.Abort as abort:
        if isinstance(abort.__cause__, KeyboardInterrupt):
            raise
        click.echo(err=True)  # there is nobody to answer
    click.echo("Nothing was done. Without a question: --yes", err=True)
    return False
