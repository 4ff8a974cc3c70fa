"""What the demo shows: a live view on a terminal, a line a second elsewhere."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cdc_hooks.demo.verdict import Delivery, percentile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cdc_hooks.demo.books import Books

_REQUESTS = 6
_FRAMES_A_SECOND = 5
_LINE_S = 1.0
_WIDTH = 100


class Screen:
    """Everything that the demo prints, on stdout."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def say(self, text: str = "", style: str = "") -> None:
        # Elsewhere than on a terminal lines are whole, however long.
        self._console.print(text, style=style, markup=False, soft_wrap=not self._console.is_terminal)

    def command(self, line: str) -> None:
        """A command as a user would type it."""
        self.say(f"\n$ {line}", "bold")

    def output(self, lines: Sequence[str], most: int = 20) -> None:
        """What it said, or the beginning of it."""
        for line in lines[:most]:
            self.say(f"  {line}".rstrip(), "dim")
        if len(lines) > most:
            self.say(f"  … and {len(lines) - most} more lines", "dim")

    @asynccontextmanager
    async def watching(self, books: Books) -> AsyncIterator[None]:
        """Show the books while the body runs, and once more at its end."""
        view = _View(books)
        if self._console.is_terminal:
            # Drawn by a thread of its own: the writer and the receiver are not held up by it.
            with Live(
                console=self._console,
                get_renderable=view.frame,
                refresh_per_second=_FRAMES_A_SECOND,
                vertical_overflow="crop",
            ):
                yield
            return
        lines = asyncio.create_task(self._lines(view))
        try:
            yield
        finally:
            lines.cancel()
        self.say(view.line())

    async def _lines(self, view: _View) -> None:
        while True:
            await asyncio.sleep(_LINE_S)
            self.say(view.line())


class _View:
    """The books in words. Only reads them."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._began_at = time.perf_counter()

    def line(self) -> str:
        books = self._books
        newest = f"; newest: {_in_words(books.deliveries[-1])}" if books.deliveries else ""
        return (
            f"{time.perf_counter() - self._began_at:4.0f} s  committed {books.written.total():>7,}  "
            f"arrived {books.arrived.total():>7,}  requests {len(books.deliveries):>5,}  {self._latency()}{newest}"
        )

    def frame(self) -> Group:
        return Group(Text(), self._counts(), Text(), self._requests(), Text(), Padding(self._totals(), (0, 2)))

    def _counts(self) -> Table:
        books = self._books
        table = _grid("table", "action", "committed by the shop", "arrived", "on the way", numbers_from=2)
        for kind in sorted(books.written.copy() | books.arrived.copy()):
            written, arrived = books.written[kind], books.arrived[kind]
            table.add_row(*kind, f"{written:,}", f"{arrived:,}", f"{max(0, written - arrived):,}")
        return table

    def _requests(self) -> Table:
        table = _grid("newest requests", "webhook-id", "table", "action", "changes", "signature", numbers_from=9)
        newest = self._books.deliveries[-_REQUESTS:]
        for delivery in newest:
            table.add_row(
                f"{delivery.received_at - self._began_at:.3f} s",
                f"{delivery.message_id[:14]}…",
                delivery.table,
                delivery.action,
                f"{len(delivery.items):,}",
                "valid",
            )
        for _ in range(_REQUESTS - len(newest)):
            table.add_row()
        return table

    def _totals(self) -> Text:
        books = self._books
        seconds = time.perf_counter() - self._began_at
        return Text(
            f"{seconds:.0f} s   {len(books.committed):,} transactions, {books.written.total():,} changes committed, "
            f"{len(books.undone):,} rolled back\n"
            f"{len(books.deliveries):,} requests   commit to receipt: {self._latency()}",
            style="bold",
        )

    def _latency(self) -> str:
        spans = sorted(self._books.latencies.copy())
        if not spans:
            return "-"
        return f"p50 {percentile(spans, 50) * 1000:.1f} ms, p99 {percentile(spans, 99) * 1000:.1f} ms"


def _in_words(delivery: Delivery) -> str:
    count = len(delivery.items)
    return f"{count} {delivery.action}{'s' if count > 1 else ''} of {delivery.table}"


def _grid(*titles: str, numbers_from: int) -> Table:
    table = Table(box=None, pad_edge=True, header_style="cyan", padding=(0, 2))
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place >= numbers_from else "left", no_wrap=True)
    return table
