"""Through a proxy, when one is configured: tunnels, absolute requests, and whose failure a failure is."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import pytest
import trustme

from cdc_hooks.addresses import Rules
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.proxy import Proxy
from cdc_hooks.deliver.resolve import Lookups, vetted
from tests.acceptance.posting import LONG_S, SHORT_S, post, sender
from tests.receivers import Receiver, answer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("both_loops")

AUTHORIZATION = "Basic " + base64.b64encode(b"shop:hunter2").decode()
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class ForwardProxy:
    """An HTTP proxy on loopback, which leads everything to one port of this machine, whatever name is asked for."""

    def __init__(self, upstream_port: int = 0, *, authorization: str = "", talk: Talk | None = None) -> None:
        self._upstream_port = upstream_port
        self._authorization = authorization
        self._talk = talk or self._serve
        self.heads: list[str] = []
        self.connections = 0
        self.open = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()

    def at(self, authorization: str = "") -> Proxy:
        return Proxy("127.0.0.1", self.port, authorization)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._talk(reader, writer)
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self._authorization and f"proxy-authorization: {self._authorization}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            await reader.read()
            return
        above_reader, above = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        if head.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\nvia: 1.1 proxy\r\n\r\n")
        else:
            target = re.sub(r"^POST http://[^/]+", "POST ", head)
            above.write(re.sub(r"proxy-authorization: .*\r\n", "", target).encode())
        with suppress(OSError):
            await asyncio.wait(
                [asyncio.ensure_future(_pump(reader, above)), asyncio.ensure_future(_pump(above_reader, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        above.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def serving(authority: trustme.CA, host: str = "receiver.invalid") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def refusing_all() -> Callable:
    return vetted(Rules(), Lookups())


def test_https_goes_through_a_tunnel_that_the_proxy_cannot_read(authority: trustme.CA, ca_file: Path) -> None:
    """The name is not known here, and the proxy's own address is not vetted."""

    async def run() -> None:
        async with (
            Receiver(tls=serving(authority)) as receiver,
            ForwardProxy(receiver.port, authorization=AUTHORIZATION) as proxy,
        ):
            url = f"https://receiver.invalid:{receiver.port}/hook?token=hush"
            to = sender(url, ca_file=ca_file, proxy=proxy.at(AUTHORIZATION), resolver=refusing_all())
            for _ in range(3):
                assert (await post(to)).ok
            await to.aclose()
            authority_form = f"receiver.invalid:{receiver.port}"
            (head,) = proxy.heads
            assert head.splitlines() == [
                f"CONNECT {authority_form} HTTP/1.1",
                f"host: {authority_form}",
                f"proxy-authorization: {AUTHORIZATION}",
                "",
            ]
            assert receiver.requests[0].target == "/hook?token=hush"
            assert receiver.requests[0].header("host") == authority_form
            assert receiver.requests[0].header("proxy-authorization") is None
            assert receiver.connections == 1

    asyncio.run(run())


def test_http_is_asked_for_in_absolute_form() -> None:
    async def run() -> None:
        async with Receiver() as receiver, ForwardProxy(receiver.port, authorization=AUTHORIZATION) as proxy:
            url = f"http://receiver.invalid:{receiver.port}/hook?a=%20b"
            to = sender(url, proxy=proxy.at(AUTHORIZATION), resolver=refusing_all())
            assert (await post(to)).ok
            await to.aclose()
            head = proxy.heads[0]
            assert head.startswith(f"POST http://receiver.invalid:{receiver.port}/hook?a=%20b HTTP/1.1\r\n")
            assert f"host: receiver.invalid:{receiver.port}\r\n" in head
            assert f"proxy-authorization: {AUTHORIZATION}\r\n" in head

    asyncio.run(run())


def test_an_address_is_vetted_although_there_is_a_proxy() -> None:
    async def run() -> None:
        async with ForwardProxy() as proxy:
            for url in ("https://10.0.0.5/", "http://[::1]/", "http://169.254.169.254/latest"):
                to = sender(url, proxy=proxy.at(), resolver=refusing_all())
                outcome = await post(to)
                await to.aclose()
                assert outcome.error is Failure.FORBIDDEN
            assert proxy.connections == 0

    asyncio.run(run())


def saying(answer: bytes, *, then_close: bool = True) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if then_close:
            writer.close()
        else:
            await reader.read()

    return talk


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    await reader.read()


def through(talk: Talk, url: str = "https://receiver.invalid/hook", **options) -> tuple[Outcome, ForwardProxy]:
    async def run() -> tuple[Outcome, ForwardProxy]:
        async with ForwardProxy(talk=talk) as proxy:
            to = sender(url, proxy=proxy.at(AUTHORIZATION), resolver=refusing_all(), **options)
            try:
                outcome = await post(to)
                while proxy.open:
                    await asyncio.sleep(0.001)
                return outcome, proxy
            finally:
                await to.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("talk", "says"),
    [
        (
            saying(b"HTTP/1.1 407 Who are you\r\nproxy-authenticate: Basic\r\ncontent-length: 3\r\n\r\nno!"),
            "answered 407: it wants other credentials than proxy_auth gives it (CONNECT receiver.invalid:443)",
        ),
        (saying(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), "answered 502 (CONNECT receiver.invalid:443)"),
        (saying(b"HTTP/1.0 403 \r\n\r\n", then_close=False), "answered 403 (CONNECT receiver.invalid:443)"),
        (saying(b"HTTP/1.1 302 Found\r\nlocation: http://portal.example\r\n\r\n"), "answered 302"),
        (saying(b"SSH-2.0-OpenSSH\r\n\r\n"), "is not HTTP"),
        (saying(b"HTTP/1.1 200 OK\r\n"), "the connection was closed before it answered to CONNECT"),
        (saying(b""), "the connection was closed before it answered to CONNECT"),
        (saying(b"HTTP/1.1 200 OK\r\n\r\nand more", then_close=False), "bytes into the tunnel that nobody asked for"),
        (saying(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 5000, then_close=False), "has more than 16384 bytes"),
    ],
)
def test_what_a_proxy_does_wrong_is_its_failure(talk: Talk, says: str) -> None:
    outcome, proxy = through(talk)
    assert (outcome.status, outcome.error) == (None, Failure.PROXY)
    assert classify(outcome).startswith(f"proxy: 127.0.0.1:{proxy.port}: ")
    assert says in classify(outcome)
    assert not re.search(r"hunter2|c2hvcDp", repr(outcome))


@pytest.mark.parametrize(
    "times", [{"connect_timeout_s": SHORT_S}, {"total_timeout_s": SHORT_S}], ids=["connect", "total"]
)
def test_a_proxy_that_never_answers(times: dict[str, float]) -> None:
    """Whichever of the times is over: it is not the receiver that took it."""
    outcome, _ = through(silent, **times)
    assert outcome.error is Failure.PROXY
    assert classify(outcome).endswith("no connection through it within 0.5 s")


def test_a_proxy_that_is_not_there() -> None:
    async def run() -> None:
        async with ForwardProxy() as proxy:
            gone = proxy.at()
        for at, says in ((gone, "connection refused"), (Proxy("proxy.invalid", 3128), "cannot be resolved")):
            for url in ("https://receiver.invalid/", "http://receiver.invalid/"):
                to = sender(url, proxy=at)
                outcome = await post(to)
                await to.aclose()
                assert outcome.error is Failure.PROXY
                assert says in classify(outcome)

    asyncio.run(run())


def test_407_to_a_request_in_the_clear_is_the_proxys() -> None:
    outcome, _ = through(
        saying(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n"), "http://receiver.invalid/hook"
    )
    assert (outcome.status, outcome.error) == (None, Failure.PROXY)
    assert "other credentials than proxy_auth gives it" in classify(outcome)


def test_a_page_of_the_proxys_that_repeats_its_credentials_is_masked() -> None:
    async def run() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: %d\r\n\r\n%b" % (len(head), head))
            await reader.read()

        async with ForwardProxy(talk=echo) as proxy:
            to = sender("http://receiver.invalid/hook", proxy=proxy.at(AUTHORIZATION))
            outcome = await post(to)
            await to.aclose()
        assert outcome.status == 502
        assert b"proxy-authorization: **********\r\n" in outcome.body

    asyncio.run(run())


def test_what_the_receiver_does_wrong_is_not_the_proxys(authority: trustme.CA, ca_file: Path) -> None:
    async def run() -> None:
        tls = serving(authority, "other.example")
        async with Receiver(tls=tls, then=answer(502)) as receiver, ForwardProxy(receiver.port) as proxy:
            to = sender(f"https://receiver.invalid:{receiver.port}/", ca_file=ca_file, proxy=proxy.at())
            outcome = await post(to)
            await to.aclose()
            assert outcome.error is Failure.TLS
            assert "Hostname mismatch" in classify(outcome)
            to = sender(f"https://other.example:{receiver.port}/", ca_file=ca_file, proxy=proxy.at())
            outcome = await post(to)
            await to.aclose()
            assert (outcome.status, outcome.error) == (502, None)

    asyncio.run(run())


def test_a_tunnel_behind_which_tls_stalls() -> None:
    outcome, _ = through(
        saying(b"HTTP/1.1 200 OK\r\n\r\n", then_close=False), connect_timeout_s=SHORT_S, total_timeout_s=LONG_S
    )
    assert outcome.error is Failure.TIMEOUT
    assert classify(outcome) == "the TLS handshake was not over within 0.5 s, although the connection was made"


def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with Receiver() as receiver, ForwardProxy() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            to = sender(receiver.url)
            assert (await post(to)).ok
            await to.aclose()
            assert proxy.connections == 0

    asyncio.run(run())


def test_credentials_are_not_shown() -> None:
    assert "hunter2" not in repr(Proxy("proxy.example", 3128, "Basic hunter2"))
