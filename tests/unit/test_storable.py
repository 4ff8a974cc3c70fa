"""What strangers say, made fit to be stored."""

from __future__ import annotations

import pytest

from cdc_hooks.deliver.storable import header_lines, record, storable

TEXTS = ["", "plain", "a\0b", "a\x1fb", "a\x1eb", "\ud800 alone", "\U0001f4a5", "→ ä", "\x1b[31m", "a\nb"]
TEXTS.append("\udcff\0\x1f" * 3)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(
    ("server_encoding", "codec"),
    [("UTF8", "utf-8"), ("SQL_ASCII", "utf-8"), ("LATIN1", "latin-1"), ("EUC_JP", "ascii")],
)
def test_no_server_can_refuse_it(text: str, server_encoding: str, codec: str) -> None:
    stored = storable(text, server_encoding)
    stored.encode(codec)
    assert "\0" not in stored
    assert "\x1f" not in stored
    assert "\x1e" not in stored
    if text.isascii() and text.isprintable():
        assert stored == text


def test_what_can_be_stored_stays_as_it_is() -> None:
    assert storable("→ ä \U0001f4a5\n\t") == "→ ä \U0001f4a5\n\t"
    assert storable("→", "LATIN1") == "\\u2192"


def test_headers_are_a_line_each_whatever_they_hold() -> None:
    assert header_lines([("a", "1"), ("b", "2\r\nc: 3")]) == "a: 1\nb: 2 c: 3"


def test_nothing_stands_for_none() -> None:
    assert record(["a", None, 1, 0.5, b"\x00\xff"]) == "a\x1f\x1f1\x1f0.5\x1f\\x00ff"
