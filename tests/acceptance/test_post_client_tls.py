"""Client certificates, and TLS that goes wrong in ways of its own."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.post import Sender
from cdc_hooks.errors import ConfigError
from tests.acceptance.posting import LONG_S, SHORT_S, post, sender
from tests.receivers import Receiver, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("both_loops")


def asking(authority: trustme.CA, trusted: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A server that wants a certificate of ``trusted``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    authority.issue_cert("localhost").configure_cert(context)
    trusted.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def with_receiver(tls: ssl.SSLContext, test: Callable[[Receiver], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Receiver(tls=tls, then=answer(200, b"", "connection: close")) as receiver:
            await test(receiver)

    asyncio.run(run())


def write(certificate: trustme.LeafCert, path: Path) -> None:
    certificate.private_key_and_cert_chain_pem.write_to_path(path)


versions = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)


@versions
@pytest.mark.parametrize("apart", [False, True], ids=["in one file", "in two files"])
def test_a_client_certificate_is_presented(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, version: ssl.TLSVersion, apart: bool
) -> None:
    ours, files = authority.issue_cert("cdc-hooks@shop.example"), {}
    if apart:
        files = {"client_cert_file": tmp_path / "client.pem", "client_key_file": tmp_path / "client.key"}
        files["client_cert_file"].write_bytes(b"".join(pem.bytes() for pem in ours.cert_chain_pems))
        ours.private_key_pem.write_to_path(files["client_key_file"])
    else:
        files = {"client_cert_file": tmp_path / "client.pem"}
        write(ours, files["client_cert_file"])

    async def test(receiver: Receiver) -> None:
        to = sender(f"https://localhost:{receiver.port}/", ca_file=ca_file, **files)
        assert (await post(to)).ok
        await to.aclose()

    with_receiver(asking(authority, authority, version), test)


@contextmanager
def refusing(tls: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that tells why it refuses, as OpenSSL does by itself and asyncio does not."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection.dup() as rest:
            with suppress(ssl.SSLError), tls.wrap_socket(connection, server_side=True):
                pytest.fail("the certificate was taken")
            rest.shutdown(socket.SHUT_WR)
            while rest.recv(4096):  # else the end would be a reset, and could overtake the reason
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@versions
@pytest.mark.parametrize("given", ["none", "of another authority"])
def test_a_client_certificate_that_is_missing_or_wrong(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, version: ssl.TLSVersion, given: str
) -> None:
    wrong = tmp_path / "client.pem"
    write(trustme.CA().issue_cert("cdc-hooks@shop.example"), wrong)
    files = {} if given == "none" else {"client_cert_file": wrong}

    async def run() -> Outcome:
        to = sender(f"https://localhost:{port}/", ca_file=ca_file, **files)
        try:
            return await post(to)
        finally:
            await to.aclose()

    with refusing(asking(authority, authority, version)) as port:
        outcome = asyncio.run(run())
    assert outcome.status is None
    assert outcome.error is Failure.TLS
    says = {"none": r"certificate required|handshake failure", "of another authority": "unknown ca"}[given]
    assert re.search(says, classify(outcome)), classify(outcome)


def test_files_are_read_again_when_they_change(authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    """Also in the life of one sender: certificates are renewed while webhooks go on."""
    path = tmp_path / "client.pem"
    write(trustme.CA().issue_cert("cdc-hooks@shop.example"), path)
    os.utime(path, (0, 0))

    async def test(receiver: Receiver) -> None:
        to = sender(f"https://localhost:{receiver.port}/", ca_file=ca_file, client_cert_file=path)
        assert (await post(to)).status is None
        write(authority.issue_cert("cdc-hooks@shop.example"), path)
        assert (await post(to)).ok
        content = path.read_bytes()
        path.write_bytes(b"")  # half of the way to the next one
        with capture_logs() as logs:
            assert (await post(to)).ok
            assert (await post(to)).ok
        (told,) = logs
        assert (told["event"], told["log_level"]) == ("certificates_not_read", "warning")
        assert f"{path} holds no certificate in PEM form" in told["error"]
        path.write_bytes(content)
        assert (await post(to)).ok
        await to.aclose()

    with_receiver(asking(authority, authority, ssl.TLSVersion.TLSv1_3), test)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"client.pem cannot be read: No such file") as caught:
        Sender("https://localhost/", connect_timeout_s=1, total_timeout_s=1, client_cert_file=tmp_path / "client.pem")
    assert "client_key_file" in (caught.value.hint or "")


def self_signed(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


def test_a_self_signed_certificate(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    self_signed(path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)

    async def test(receiver: Receiver) -> None:
        to = sender(f"https://localhost:{receiver.port}/")
        outcome = await post(to)
        await to.aclose()
        assert outcome.error is Failure.TLS
        assert classify(outcome).startswith("TLS: certificate verify failed: self-signed certificate; ")
        assert receiver.requests == []
        trusting = sender(f"https://localhost:{receiver.port}/", ca_file=path)
        assert (await post(trusting)).ok
        await trusting.aclose()

    with_receiver(tls, test)


def test_tls_that_stalls() -> None:
    """It accepts, takes the ClientHello, and never answers."""
    closed = []

    async def stall(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        closed.append(True)
        stream.close()

    async def run() -> Outcome:
        async with await asyncio.start_server(stall, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            to = Sender(f"https://localhost:{port}/", connect_timeout_s=SHORT_S, total_timeout_s=LONG_S)
            try:
                outcome = await post(to)
                while not closed:
                    await asyncio.sleep(0.001)
                return outcome
            finally:
                await to.aclose()

    outcome = asyncio.run(run())
    assert outcome.error is Failure.TIMEOUT
    assert classify(outcome) == "the TLS handshake was not over within 0.5 s, although the connection was made"
