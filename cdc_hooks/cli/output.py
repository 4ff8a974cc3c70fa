"""How results look: tables on a terminal, aligned text in a pipe, JSON for scripts."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from cdc_hooks.cli.fitting import Table, aligned, fitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_hooks.cli.fitting import Fitted

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


def print_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    cut: Sequence[str] = (),
    spare: Sequence[str] = (),
    sentences: bool = False,
) -> None:
    """``rows`` under ``titles``: on a terminal so that they fit (see ``Table``), in a pipe always whole."""
    if not sys.stdout.isatty():
        for line in aligned([titles, *rows]):
            click.echo(line)
        return
    table = fitted(Table(titles, rows, cut, spare, sentences), terminal_width(), dots())
    console = Console()
    for text in coloured(table):
        console.print(text, soft_wrap=True)
    if table.left_out:
        what = ", ".join(table.left_out)
        click.echo(f"Left out, for want of room: {what}. They are there on a wider terminal, or in a pipe.", err=True)


def coloured(table: Fitted) -> list[Text]:
    """Its lines, the titles bold, known words in their colours."""
    lines = []
    for number, cells in enumerate(table.lines):
        line = Text()
        for place, cell in enumerate(cells):
            bold = number == 0 and not table.stacked
            line.append("  " * (place > 0 and not table.stacked) + " " * (place > 0 and table.stacked))
            line.append(cell.text, "bold" if bold else COLOURS.get(cell.word, ""))
        line.rstrip()
        lines.append(line)
    return lines


def terminal_width() -> int:
    """In characters. Not asked of rich, which takes a dumb terminal for one of 80."""
    return shutil.get_terminal_size().columns


def shows(text: str) -> bool:
    """Whether stdout can carry these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def dots() -> str:
    """What stands for what is cut off."""
    return "…" if shows("…") else "..."


def print_json(data: Any) -> None:
    text = json.dumps(data, ensure_ascii=False, indent=2, default=str)
    click.echo(text if shows(text) else json.dumps(data, indent=2, default=str))


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


def took(seconds: float | None) -> str:
    """How long a request took: ``0.4 ms``, ``35 ms``, ``20.1 s``."""
    if seconds is None:
        return "-"
    if seconds >= 10:
        return f"{seconds:,.1f} s"
    return f"{seconds * 1000:,.0f} ms" if seconds >= 0.001 else f"{seconds * 1000:.1f} ms"


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
