"""One attempt: a signed message in, an outcome out. What happens next is for the policy to say."""

from __future__ import annotations

import asyncio
import re
import time
from functools import partial
from typing import TYPE_CHECKING

from yarl import URL

from cdc_hooks import __version__
from cdc_hooks.addresses import literal
from cdc_hooks.config.redact import show_url
from cdc_hooks.deliver.echo import Echo
from cdc_hooks.deliver.faults import plain, translate
from cdc_hooks.deliver.http1 import Connection, Pool
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.proxy import WANTS_CREDENTIALS, refusal
from cdc_hooks.deliver.resolve import Lookups
from cdc_hooks.deliver.transport import Way, connect
from cdc_hooks.deliver.trust import Files, Trust
from cdc_hooks.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cdc_hooks.deliver.http1 import Answer
    from cdc_hooks.deliver.proxy import Proxy
    from cdc_hooks.deliver.resolve import Resolver
    from cdc_hooks.model import Message

_DRAINED_S = 2.0
# How long a success waits for the end of its body before the rest is read without it: a receiver that sends headers and
# body in two packets keeps its connection, one that drips holds up nobody.
_GRACE_S = 0.05
_KEPT_HEADERS = 32
_LONGEST_NAME = 500
_FRAMING = frozenset(
    {"host", "connection", "keep-alive", "proxy-connection", "upgrade", "expect", "te", "trailer"}
    | {"content-length", "transfer-encoding"}
)
_HOST = re.compile(r"[A-Za-z0-9._:-]+")  # a name as it stands in DNS, or an address
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# No control characters but tabs; Latin-1.
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Sender:
    """The connections to one webhook's receiver.

    ``headers`` (with those for authentication) go with every request and cannot replace our own. ``max_connections`` is
    how many posts are under way at once; others wait. (As many connections again may be reading the ends of answers.)
    ``resolver`` is asked for the addresses of every connection, also where the URL's host is an address, and may refuse
    by raising; without one, names are looked up and nothing is refused. With a ``proxy`` it is asked about addresses
    only: names are for the proxy to resolve. ``answer_bytes``: so much of a success's body is wanted, and waited for
    within the total time; None: its beginning, as far as it is there. Raises ConfigError if the URL or a header cannot
    be sent, or one of the files cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float,
        total_timeout_s: float,
        ca_file: Path | None = None,
        client_cert_file: Path | None = None,
        client_key_file: Path | None = None,
        headers: Mapping[str, str] | None = None,
        max_connections: int = 1,
        resolver: Resolver | None = None,
        proxy: Proxy | None = None,
        answer_bytes: int | None = None,
    ) -> None:
        host, port, secure, request = _target(url, proxied=proxy is not None)
        trust = Trust(Files(ca_file, client_cert_file, client_key_file)) if secure else None
        # What is not encrypted is for the proxy to read, which sends on what it likes; else it sees but a tunnel.
        self._reader = None if secure else proxy
        for_proxy = self._reader.headers() if self._reader else {}
        self._echo = Echo(url, [*(headers or {}).values(), *for_proxy.values()])
        self._head = request + _lines(_fixed(headers or {}) | for_proxy)
        self._total_timeout_s = total_timeout_s
        self._max_connections = max_connections
        self._places = asyncio.Semaphore(max_connections)
        way = Way(host, port, trust, resolver or Lookups(), proxy, Lookups())
        new = Connection if answer_bytes is None else partial(Connection, answer_bytes)
        self._pool = Pool(partial(connect, way, connect_timeout_s, new=new))
        self._success_patience_s = _GRACE_S if answer_bytes is None else total_timeout_s
        self._drains: set[asyncio.Future[None]] = set()

    async def post(self, message: Message, headers: Mapping[str, str]) -> Outcome:
        """Send it once; ``headers`` carry the signature. Whatever the network or the receiver does is an outcome."""
        started = time.perf_counter()
        try:
            connection = await self._request(message.body, headers)
        except Exception as error:  # noqa: BLE001 - "whatever": a bug in the client must not stop a webhook, either
            failure, detail = translate(error, self._total_timeout_s)
            return Outcome(error=failure, detail=detail, duration_s=_since(started))
        # The headers are here: from now on nothing changes what the attempt has come to.
        duration = _since(started)
        answer = connection.answer
        try:
            if not answer.ended:
                patience = self._success_patience_s if answer.ok else _DRAINED_S
                await connection.rest(min(patience, self._total_timeout_s - duration))
        finally:
            self._let_go(connection)
        if self._reader is not None and answer.status == WANTS_CREDENTIALS:
            failed = self._reader.fails(refusal(WANTS_CREDENTIALS))
            return Outcome(error=failed.failure, detail=failed.detail, duration_s=duration)
        return _outcome(answer, duration, self._echo)

    def head(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """All that is sent before the body: the request line and the headers, with what is secret in them."""
        return b"%b%bcontent-length: %d\r\n\r\n" % (self._head, _lines(headers), len(body))

    async def aclose(self) -> None:
        """Close all connections. Safe to repeat."""
        await self._pool.aclose()

    async def _request(self, body: bytes, headers: Mapping[str, str]) -> Connection:
        """A connection with the beginning of an answer. It has one of the places, until it is let go.

        A receiver may close an idle connection just as it is used again. Nobody is to blame for that, and the next
        connection may be well: so the request is sent once more, on a new one, with what is left of the time.
        """
        head = self.head(body, headers)
        deadline = asyncio.get_running_loop().time() + self._total_timeout_s
        connection = await self._place(deadline)
        try:
            try:
                await connection.request(head, body, deadline)
            except ConnectionError:
                if not connection.answered_only_before:
                    raise
                connection = await self._pool.connect(deadline)
                await connection.request(head, body, deadline)
        except BaseException:
            self._places.release()
            raise
        return connection

    async def _place(self, deadline: float) -> Connection:
        """One of the places, and a connection for it."""
        if not self._places.locked() and (connection := self._pool.idle()):
            await self._places.acquire()  # there is one: this does not wait
            return connection
        async with asyncio.timeout_at(deadline):
            await self._places.acquire()
        try:
            return self._pool.idle() or await self._pool.connect(deadline)
        except BaseException:
            self._places.release()
            raise

    def _let_go(self, connection: Connection) -> None:
        self._places.release()
        over = connection.over
        if over is None or over.done():
            self._pool.put_back(connection)
        elif not connection.answer.ok or len(self._drains) >= self._max_connections:
            connection.close()  # it was waited for long enough, or is not worth yet another connection
        else:
            self._forget_rest(connection, over)

    def _forget_rest(self, connection: Connection, over: asyncio.Future[None]) -> None:
        """Nobody waits for it any more: it reads on until the end, so that it can be used again, but not for ever."""
        timer = asyncio.get_running_loop().call_later(_DRAINED_S, connection.close)
        self._drains.add(over)

        def done(over: asyncio.Future[None]) -> None:
            timer.cancel()
            self._drains.discard(over)
            self._pool.put_back(connection)

        over.add_done_callback(done)


def _target(url: str, *, proxied: bool) -> tuple[str, int, bool, bytes]:
    """Host, port, whether it is https, and how a request begins. ConfigError, without the URL: it may hold a secret.

    A proxy is told the whole URL, where it is not https.
    """
    try:
        # The path and the query are sent as they are configured, not as yarl would write them.
        to, target = URL(url), URL(url, encoded=True).raw_path_qs.encode("ascii")
    except ValueError:  # of yarl, or of a codec
        to, target = URL(), b""
    host, port = to.raw_host, to.port
    well_formed = " " not in url and url.isprintable() and to.scheme in {"http", "https"}
    if not well_formed or not host or not port or not _is_host(host):
        raise ConfigError(
            "the URL of a webhook cannot be used",
            hint="it begins with https:// or http:// and a host; spaces and what is not ASCII are percent-encoded",
        )
    try:
        literal(host)
    except ValueError as error:
        raise ConfigError(f"the URL of a webhook cannot be used: {error}", hint="or give its name") from None
    authority, secure = str(to.host_port_subcomponent).encode("ascii"), to.scheme == "https"
    if proxied and not secure:
        target = b"http://%b%b" % (authority, target)
    return host, port, secure, b"POST %b HTTP/1.1\r\nhost: %b\r\n" % (target, authority)


def _is_host(host: str) -> bool:
    """Whether a name can be looked up and verified: no empty part, and none too long, among others."""
    try:
        host.removesuffix(".").encode("idna")
    except UnicodeError:
        return False
    return not host.endswith("..") and host != "." and _HOST.fullmatch(host) is not None


def _fixed(configured: Mapping[str, str]) -> dict[str, str]:
    """The headers that are the same for all requests; raises ConfigError for those that cannot be sent."""
    fixed = {}
    for name, value in configured.items():
        lower = name.lower()
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ConfigError(
                f"the header {plain(name)} cannot be sent",
                hint="a name has letters, digits and '-'; a value has one line, and no characters beyond Latin-1",
            )
        if lower not in _FRAMING and not lower.startswith(("webhook-", "cdc-hooks-")):  # each message has its own
            fixed[lower] = value
    return fixed | {
        "content-type": "application/json",
        "user-agent": f"cdc-hooks/{__version__}",
        "accept-encoding": "identity",
    }


def _lines(headers: Mapping[str, str]) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not lines.count("\r") == lines.count("\n") == len(headers):
        raise ValueError("there is a line break in a header")
    return lines.encode("latin-1")


def _header(name: str, value: str) -> tuple[str, str]:
    """As it is kept. Most redirects go to the URL that was called, but for a slash or a scheme, with its query."""
    return name, show_url(value) if name == "location" else value


def _since(started: float) -> float:
    """Seconds, in whole microseconds: so it is the same number wherever it is recorded, in binary or as text."""
    return round(time.perf_counter() - started, 6)


def _outcome(answer: Answer, duration_s: float, echo: Echo) -> Outcome:
    status, complete = answer.status, answer.ended and not answer.cut
    # Names are ASCII, or the parser would have refused them.
    headers = [
        _header(name.decode().lower(), echo.masked(value).decode(errors="replace")) for name, value in answer.headers
    ]
    first = dict(reversed(headers))
    location = first.get("location")
    retry_after = first.get("retry-after")
    followable = location is not None and status is not None and 300 <= status < 400
    return Outcome(
        status=status,
        error=Failure.REDIRECT if followable else None,
        headers=tuple([(name[:_LONGEST_NAME], plain(value)) for name, value in headers[:_KEPT_HEADERS]]),
        body=echo.masked(bytes(answer.body), cut=not complete),
        complete=complete,
        retry_after=None if retry_after is None else plain(retry_after),
        location=None if location is None else plain(location, longest=2048),
        duration_s=duration_s,
    )
