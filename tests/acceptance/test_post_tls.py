"""Whom a sender trusts: the system's authorities, those of ``ca_file``, and nobody else."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme

from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.post import Sender
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action, Message
from tests.receivers import Receiver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

MESSAGE = Message("msg_1", b"{}", "orders", Action.UPDATE, 1, "1-1", "1-1", b"2026-11-21T10:00:00.123456Z")


pytestmark = pytest.mark.usefixtures("both_loops")


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def attempt(tls: ssl.SSLContext | None, ca_file: Path | None, host: str = "localhost") -> tuple[Outcome, Receiver]:
    async def run() -> tuple[Outcome, Receiver]:
        async with Receiver(tls=tls) as receiver:
            url = f"https://{host}:{receiver.port}/"
            to = Sender(url, connect_timeout_s=30, total_timeout_s=30, ca_file=ca_file)
            try:
                return await to.post(MESSAGE, {}), receiver
            finally:
                await to.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_authority_of_the_file_is_trusted(authority: trustme.CA, ca_file: Path, host: str) -> None:
    outcome, receiver = attempt(serving(authority.issue_cert(host)), ca_file, host)
    assert outcome.ok
    assert len(receiver.requests) == 1


def test_the_file_adds_to_the_authorities_of_the_system(ca_file: Path) -> None:
    to = Sender("https://localhost/", connect_timeout_s=1, total_timeout_s=1, ca_file=ca_file)
    context = to._pool._connect.args[0].trust.context()
    assert len(context.get_ca_certs()) == 1 + len(ssl.create_default_context().get_ca_certs())


def test_a_changed_file_is_read_again(authority: trustme.CA, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    os.utime(path, (0, 0))
    assert attempt(serving(authority.issue_cert("localhost")), path)[0].error is Failure.TLS
    authority.cert_pem.write_to_path(path)
    assert attempt(serving(authority.issue_cert("localhost")), path)[0].ok


@pytest.mark.parametrize("trusting", [True, False], ids=["another authority", "the system's"])
def test_an_unknown_authority_is_not_trusted(ca_file: Path, trusting: bool) -> None:
    outcome, receiver = attempt(serving(trustme.CA().issue_cert("localhost")), ca_file if trusting else None)
    refused(outcome, receiver, "TLS: certificate verify failed: unable to get local issuer certificate")


def test_a_certificate_for_another_host(authority: trustme.CA, ca_file: Path) -> None:
    outcome, receiver = attempt(serving(authority.issue_cert("receiver.example")), ca_file)
    refused(outcome, receiver, "TLS: certificate verify failed: Hostname mismatch")


def test_an_expired_certificate(authority: trustme.CA, ca_file: Path) -> None:
    expired = authority.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1))
    outcome, receiver = attempt(serving(expired), ca_file)
    refused(outcome, receiver, "TLS: certificate verify failed: certificate has expired")


def attempt_at(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> Outcome:
    """One attempt, over TLS, at one who listens and does not speak it."""

    async def run() -> Outcome:
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            to = Sender(f"https://localhost:{port}/", connect_timeout_s=30, total_timeout_s=30)
            try:
                return await to.post(MESSAGE, {})
            finally:
                await to.aclose()

    return asyncio.run(run())


def test_a_receiver_that_speaks_no_tls() -> None:
    async def answer_at_once(_reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        stream.write(b"HTTP/1.1 400 This port speaks plain HTTP\r\n\r\n")
        stream.close()

    outcome = attempt_at(answer_at_once)
    assert outcome.error is Failure.TLS
    assert classify(outcome) == (
        "TLS: wrong version number; what answers there does not speak TLS: check the port, and the https:// of the URL"
    )


def test_connections_are_used_again(authority: trustme.CA, ca_file: Path) -> None:
    async def run() -> None:
        async with Receiver(tls=serving(authority.issue_cert("localhost"))) as receiver:
            to = Sender(
                f"https://localhost:{receiver.port}/", connect_timeout_s=30, total_timeout_s=30, ca_file=ca_file
            )
            for _ in range(5):
                assert (await to.post(MESSAGE, {})).ok
            await to.aclose()
            assert receiver.connections == 1
            await receiver.until(lambda: receiver.open_connections == 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "certified", "asked_for"),
    [
        ("bücher.example", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("receiver.example.", "receiver.example", "receiver.example"),
        ("127.0.0.1", "127.0.0.1", None),  # addresses are not sent, but verified
    ],
)
def test_the_name_that_is_asked_for_and_verified(
    authority: trustme.CA, ca_file: Path, host: str, certified: str, asked_for: str | None
) -> None:
    names: list[str | None] = []

    async def here(_host, port):
        return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

    async def run() -> None:
        tls = serving(authority.issue_cert(certified))
        tls.sni_callback = lambda _socket, name, _context: names.append(name)
        async with Receiver(tls=tls) as receiver:
            url = f"https://{host}:{receiver.port}/"
            to = Sender(url, connect_timeout_s=30, total_timeout_s=30, ca_file=ca_file, resolver=here)
            assert (await to.post(MESSAGE, {})).ok
            await to.aclose()
            assert receiver.requests[0].header("host") == f"{certified}:{receiver.port}"

    asyncio.run(run())
    assert names == [asked_for]


def test_an_answer_before_the_end_of_the_request_is_the_answer(authority: trustme.CA, ca_file: Path) -> None:
    async def too_large(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        stream.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!")
        await stream.drain()
        stream.transport.abort()

    async def run() -> None:
        tls = serving(authority.issue_cert("localhost"))
        async with await asyncio.start_server(too_large, "127.0.0.1", 0, ssl=tls) as server:
            url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
            to = Sender(url, connect_timeout_s=30, total_timeout_s=30, ca_file=ca_file)
            for _ in range(3):
                outcome = await to.post(MESSAGE._replace(body=b"x" * 5_000_000), {})
                assert (outcome.status, outcome.body) == (413, b"no!")
            await to.aclose()

    asyncio.run(run())


def test_closed_during_the_handshake() -> None:
    async def hang_up(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        await reader.read(1)
        stream.close()

    outcome = attempt_at(hang_up)
    assert outcome.error is Failure.CONNECT
    assert classify(outcome) == "the connection was closed in the TLS handshake"


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "cannot be read: No such file"), (b"", "holds no certificates in PEM form")]
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem) as caught:
        Sender("https://localhost/", connect_timeout_s=1, total_timeout_s=1, ca_file=path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def refused(outcome: Outcome, receiver: Receiver, words: str) -> None:
    assert (outcome.status, outcome.error) == (None, Failure.TLS)
    assert classify(outcome).startswith(words)
    assert receiver.requests == []
