"""Secrets of a request that its answer repeats: found in the forms that servers write them in, and masked. Pure."""

from __future__ import annotations

import base64
import re
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from cdc_hooks.config.redact import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHORTEST = 8
"""Of what is shorter, too much would be masked that only looks like it."""
_LONGEST_FLEXIBLE = 500
_MASK = MASK.encode()
_WORD = re.compile(rb"[0-9A-Za-z]*")
_PIECE = re.compile(rb"[0-9A-Za-z]+|\\+|.", re.DOTALL)


class Echo:
    """Of one webhook: what its ``url`` has after the '?', and the ``values`` of its configured headers.

    Each as it is sent, and with its special characters as URLs, JSON and HTML write them; in any case of letters.
    """

    def __init__(self, url: str, values: Iterable[str]) -> None:
        said = {*_of_query(urlsplit(url).query), *(one for value in values for one in _of_header(value))}
        self._secrets = sorted((one.encode() for one in said if len(one) >= SHORTEST), key=len, reverse=True)
        self._words = {max(_WORD.findall(one.lower()), key=len) for one in self._secrets}

    @cached_property
    def _any(self) -> re.Pattern[bytes]:
        """Made only when it is needed: it takes a millisecond, and there may be thousands of webhooks."""
        return re.compile(b"|".join(map(_in_any_form, self._secrets)), re.IGNORECASE)

    def masked(self, said: bytes, *, cut: bool = False) -> bytes:
        """``cut``: there was more of it, so that it may end in the middle of a secret."""
        if not said or not self._secrets:
            return said
        # Every form of a secret has its letters and digits as they are, and they are found much faster.
        lower = said.lower()
        if any(word in lower for word in self._words):
            said = self._any.sub(_MASK, said)
        return self._without_beginning_at_end(said) if cut else said

    def _without_beginning_at_end(self, said: bytes) -> bytes:
        for secret in self._secrets:
            for size in range(min(len(secret), len(said)), 3, -1):
                if said.endswith(secret[:size]):
                    return said[:-size] + _MASK
        return said


def _of_query(query: str) -> Iterator[str]:
    """As a whole, and each value as it is sent and as it is meant."""
    yield query
    yield from (part.partition("=")[2] or part for part in query.split("&"))
    yield from (value for _, value in parse_qsl(query))


def _of_header(value: str) -> Iterator[str]:
    """As a whole, its words, and user and password of basic authentication."""
    yield value
    yield from value.split()
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(encoded, validate=True).decode()
        except ValueError:
            return
        yield pair
        yield pair.partition(":")[2]


def _in_any_form(secret: bytes) -> bytes:
    """A pattern. Letters and digits stand for themselves; what else there is may be written in several ways."""
    if len(secret) > _LONGEST_FLEXIBLE:
        return re.escape(secret)  # of so much, making the pattern would take seconds
    return b"".join(
        piece if _WORD.fullmatch(piece) else b"(?:%b)" % b"|".join(_forms(piece)) for piece in _PIECE.findall(secret)
    )


_NAMED = {b"&": b"&amp;", b"<": b"&lt;", b">": b"&gt;", b'"': b"&quot;", b"'": b"&apos;", b" ": rb"\+"}


def _forms(piece: bytes) -> Iterator[bytes]:
    """Of a character, or of some backslashes. With bounds, so that no answer can make the search long."""
    if piece[:1] == b"\\":
        yield rb"\\{%d,%d}" % (len(piece), 4 * len(piece))
        yield b"(?:%%5c){%d}" % len(piece)
        return
    one = piece[0]
    yield rb"\\{0,4}" + re.escape(piece)
    yield b"%%%02x" % one
    yield rb"\\{1,4}u00%02x" % one
    yield b"&#0{0,4}%d;" % one
    yield b"&#x0{0,4}%x;" % one
    if piece in _NAMED:
        yield _NAMED[piece]
