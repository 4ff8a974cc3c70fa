"""Tables on terminals with little room, and the view of ``status --watch``."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from cdc_hooks.cli.fitting import Table, fitted
from cdc_hooks.cli.watching import PLAIN_LEVELS, History, view
from cdc_hooks.ops.status import StatusReport, WebhookStatus

TITLES = ("number", "webhook", "outcome", "took")
ROWS = [["17", "order-sync", "no answer within 20 s: the connection was closed", "20 s"], ["18", "w", "ok", "1 ms"]]
TABLE = Table(TITLES, ROWS, cut=("webhook", "outcome"), spare=("took",))
SENTENCE = "paused since Monday: its endpoint answered 410, which means that it is gone for ever; have it mended"


def text(table: Table, width: int, dots: str = "…") -> list[str]:
    found = fitted(table, width, dots)
    gap = " " if found.stacked else "  "
    return [gap.join(cell.text for cell in line).rstrip() for line in found.lines]


def test_where_there_is_room_nothing_is_cut() -> None:
    assert ROWS[0][2] in text(TABLE, 200)[1]
    assert text(TABLE, 200)[0].split() == list(TITLES)


@pytest.mark.parametrize("width", range(20, 90))
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    for table in (TABLE, Table(TITLES, [[*row[:3], SENTENCE] for row in ROWS], cut=("webhook",), sentences=True)):
        assert max(map(cell_len, text(table, width))) <= width


def test_columns_are_cut_before_others_are_left_out_and_those_before_rows_are_stacked() -> None:
    assert text(TABLE, 50)[1] == "17      order-sync  no answer within 20 s: …  20 s"
    assert (fitted(TABLE, 50).left_out, fitted(TABLE, 37).left_out) == ([], ["took"])
    assert text(TABLE, 37, "...")[1] == "17      order-sync  no answer with..."
    assert text(TABLE, 25)[:4] == [
        "number: 17",
        "webhook: order-sync",
        "outcome: no answer within",
        "  20 s: the connection",
    ]


@pytest.mark.parametrize("width", [25, 40, 60, 100, 300])
def test_a_sentence_is_never_cut(width: int) -> None:
    table = Table(("webhook", "state", "what"), [["order-sync", "paused", SENTENCE]], cut=("webhook",), sentences=True)
    words = " ".join(text(table, width)).split()
    assert " ".join(SENTENCE.split()) in " ".join(word for word in words if word in SENTENCE.split())


def test_what_takes_two_places_is_counted_so_and_nothing_steers_the_terminal() -> None:
    table = Table(("name", "next"), [["注文" * 10, "x"], ["\x1b[2Jred\n", "y"]], cut=("name",))
    lines = text(table, 20)
    assert cell_len(lines[1]) == cell_len(lines[2])
    assert "\x1b" not in "".join(lines)


def a_webhook(name: str, state: str, summary: str) -> WebhookStatus:
    nothing = dict.fromkeys(("last_success_at", "last_error_at", "last_error", "next_attempt_at"))
    return WebhookStatus(
        name,
        state,
        summary,
        backlog=12,
        lag_s=3.0,
        delivered=7,
        dead_letters=2,
        held=0,
        gaps=0,
        **nothing,  # type: ignore[arg-type]
    )


def drawn(width: int, levels: str) -> str:
    report = StatusReport("shop pid 17", None, 0, webhooks=[a_webhook("order-sync", "open", SENTENCE)])
    history = History()
    for delivered in (0, 10, 40):
        history.add(WebhookStatus(**{**vars(report.webhooks[0]), "delivered": delivered}), float(delivered + 1))
    console = Console(file=io.StringIO(), width=width)
    console.print(view(report, {"order-sync": history}, width, levels))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_the_watch_fits_and_tells_all_troubles(width: int) -> None:
    shown = drawn(width, PLAIN_LEVELS)
    assert max(map(len, shown.splitlines())) <= width
    assert " ".join(SENTENCE.split()) in " ".join(shown.split())
    assert shown.isascii() or "…" in shown


def test_the_watch_has_graphs_where_there_is_room() -> None:
    # Of the lag and of the rate, each with one character for a look.
    assert re.search(r" ### +1 +## ", drawn(120, PLAIN_LEVELS))
    assert "█" in drawn(120, "▁▂▃▄▅▆▇█")
    assert "#" not in drawn(50, PLAIN_LEVELS)
