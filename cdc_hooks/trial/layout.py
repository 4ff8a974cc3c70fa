"""JSON text laid out anew, without touching its values: a JSON library would turn 0.10 into 0.1. Pure."""

from __future__ import annotations

import re

_PIECE = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:]|[^\s"{}\[\],:]++')
_OPENING, _CLOSING = frozenset("{["), frozenset("}]")


def compact(text: str) -> str:
    """Valid JSON without the spaces between its parts."""
    return "".join(_PIECE.findall(text))


def indented(text: str) -> str:
    """Valid JSON as people read it, a member a line."""
    written: list[str] = []
    depth, last = 0, ""
    for piece in _PIECE.findall(text):
        depth -= piece in _CLOSING
        # What is empty stays on its line.
        if (piece in _CLOSING) != (last in _OPENING) or last == ",":
            written.append("\n" + "  " * depth)
        written.append(": " if piece == ":" else piece)
        depth += piece in _OPENING
        last = piece
    return "".join(written)
