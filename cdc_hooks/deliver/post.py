"""One attempt: a signed message in, an outcome out. What happens next is for the policy to say."""

from __future__ import annotations

import asyncio
import io
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from yarl import URL

from cdc_hooks import __version__
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.transport import open_session, plain, tls_context, translate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import aiohttp
    from aiohttp.abc import AbstractResolver

    from cdc_hooks.model import Message

_KEPT_BYTES = 16 * 1024
_DRAINED_BYTES = 64 * 1024
_DRAINED_S = 2.0
# How long a success waits for the end of its body before the rest is left to a task: a receiver that sends headers and
# body in two packets keeps its connection, one that drips holds up nobody.
_GRACE_S = 0.05
_KEPT_HEADERS = 32
# aiohttp writes larger ones in pieces if they come as a file.
_ONE_PIECE_BYTES = 512 * 1024


class Sender:
    """The connections to one webhook's receiver.

    ``headers`` (with those for authentication) go with every request and cannot replace our own. ``max_connections`` is
    how many posts are under way at once. ``resolver`` looks up names, and may refuse addresses by raising OSError; it
    is not asked about a URL whose host is an address. Raises ConfigError if ``ca_file`` cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float,
        total_timeout_s: float,
        ca_file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        max_connections: int = 1,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._url = URL(url)
        self._connect_timeout_s = connect_timeout_s
        self._total_timeout_s = total_timeout_s
        self._tls = tls_context(ca_file) if self._url.scheme == "https" else None
        self._headers = {name.lower(): value for name, value in (headers or {}).items()} | {
            "content-type": "application/json",
            "user-agent": f"cdc-hooks/{__version__}",
            "accept-encoding": "identity",
        }
        self._max_connections = max_connections
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._drains: set[asyncio.Task[None]] = set()

    async def post(self, message: Message, headers: Mapping[str, str]) -> Outcome:
        """Send it once; ``headers`` carry the signature. Whatever the network or the receiver does is an outcome."""
        started = time.perf_counter()
        deadline = asyncio.timeout(self._total_timeout_s)
        try:
            async with deadline:
                response = await self._request(message.body, headers)
        except Exception as error:  # noqa: BLE001 - "whatever": a bug in the client must not stop a webhook, either
            failure, detail = translate(error, self._connect_timeout_s)
            if deadline.expired():
                failure, detail = Failure.TIMEOUT, f"no answer within {self._total_timeout_s:g} s"
            return Outcome(error=failure, detail=detail, duration_s=time.perf_counter() - started)
        # The headers are here: from now on nothing changes what the attempt has come to.
        duration = time.perf_counter() - started
        patience = _GRACE_S if 200 <= response.status < 300 else _DRAINED_S
        body = await self._beginning(response, min(patience, self._total_timeout_s - duration))
        return _outcome(response, body, duration)

    async def aclose(self) -> None:
        """Close all connections. Safe to repeat."""
        for drain in self._drains:
            drain.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _request(self, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        if self._session is None:  # not earlier: it belongs to the running event loop
            self._session = open_session(self._tls, self._connect_timeout_s, self._max_connections, self._resolver)
        return await self._session.post(
            self._url,
            data=body if len(body) <= _ONE_PIECE_BYTES else io.BytesIO(body),
            headers={**self._headers, **headers},
            allow_redirects=False,
        )

    async def _beginning(self, response: aiohttp.ClientResponse, patience_s: float) -> bytes:
        """The first bytes of the body, as many as are kept. The rest is read and forgotten by a task."""
        content = response.content
        if content.is_eof() and content.exception() is None:  # it came with the headers
            return content.read_nowait(_KEPT_BYTES)
        kept = b""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    while more := await content.read(_KEPT_BYTES - len(kept)):
                        kept += more
        except asyncio.CancelledError:
            response.close()
            raise
        except Exception:  # noqa: BLE001 - the body broke off, or was not what the headers said
            response.close()
        if not response.closed:
            self._forget_rest(response)
        return kept

    def _forget_rest(self, response: aiohttp.ClientResponse) -> None:
        if len(self._drains) >= self._max_connections:  # not worth yet another connection
            response.close()
            return
        drain = asyncio.create_task(_drain(response))
        self._drains.add(drain)

        # Not in the task itself: one that is cancelled before it begins runs none of its code.
        def done(drain: asyncio.Task[None]) -> None:
            self._drains.discard(drain)
            if not response.closed:  # at its end it closes itself, and hands back the connection
                response.close()

        drain.add_done_callback(done)


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read on until the end, so that the connection can be used again, but not for ever."""
    left = _DRAINED_BYTES
    # Whatever goes wrong: nobody waits for this, and the connection is closed.
    with suppress(Exception):
        async with asyncio.timeout(_DRAINED_S):
            while more := await response.content.read(left):
                left -= len(more)


def _outcome(response: aiohttp.ClientResponse, body: bytes, duration_s: float) -> Outcome:
    headers = response.headers
    location = headers.get("location")
    retry_after = headers.get("retry-after")
    followable = 300 <= response.status < 400 and location is not None
    return Outcome(
        status=response.status,
        error=Failure.REDIRECT if followable else None,
        headers=tuple((plain(name).lower(), plain(value)) for name, value in list(headers.items())[:_KEPT_HEADERS]),
        body=body,
        retry_after=None if retry_after is None else plain(retry_after),
        location=None if location is None else plain(location, longest=2048),
        duration_s=duration_s,
    )
