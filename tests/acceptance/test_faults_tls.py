"""Every way in which TLS goes wrong, at once, one webhook each in one running daemon, beside one that is well."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.acceptance.faults import Conversation, Patient, Reader, Writer, for_ever, harmless, hospital, resets
from tests.acceptance.harness import Site, leading, webhook
from tests.acceptance.inbox import receiving
from tests.acceptance.ward import OPTIONS, Expected, check_bounds, until_all_is_well, until_as_expected, write_beside

_BYTES = 65536


async def handshake(reader: Reader, writer: Writer, context: ssl.SSLContext) -> None:
    """A server's part of it. Who refuses says why, as OpenSSL does by itself and asyncio does not."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(_BYTES))
            if reader.at_eof():
                return
        except ssl.SSLError:
            await says_and_waits(reader, writer, outgoing.read())
            return
        else:
            writer.write(outgoing.read())
            return


async def says_and_waits(reader: Reader, writer: Writer, said: bytes) -> None:
    """The end comes from the other side: else it would be a reset, and could overtake what was said."""
    writer.write(said)
    writer.write_eof()
    await stalls(reader, writer)


def shows(context: ssl.SSLContext) -> Conversation:
    """Who takes this certificate is never answered."""

    async def talk(reader: Reader, writer: Writer) -> None:
        await handshake(reader, writer, context)
        await stalls(reader, writer)

    return talk


def after_the_hello(then: Conversation) -> Conversation:
    async def talk(reader: Reader, writer: Writer) -> None:
        await reader.read(_BYTES)
        await then(reader, writer)

    return talk


async def stalls(reader: Reader, _writer: Writer) -> None:
    """Never answers, and notices when the other side goes away."""
    while await reader.read(_BYTES):
        pass


async def hangs_up(_reader: Reader, _writer: Writer) -> None:
    pass


async def drips_a_record(reader: Reader, writer: Writer) -> None:
    writer.write(b"\x16\x03\x03\x40\x00")  # a handshake record of 16 KiB
    await for_ever(b"\x02", 0.1)(reader, writer)


async def speaks_plain_http(reader: Reader, writer: Writer) -> None:
    said = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    await says_and_waits(reader, writer, said)


class TlsPatient(Patient):
    """``well``: what it shows, and asks for, when it is healed."""

    def __init__(self, talk: Conversation, well: ssl.SSLContext) -> None:
        super().__init__(harmless(talk))
        self._well = well

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/hook"

    async def _receive(self, reader: Reader, writer: Writer) -> None:
        await writer.start_tls(self._well, ssl_handshake_timeout=10)
        await super()._receive(reader, writer)


@dataclass(frozen=True)
class Row:
    talk: Conversation
    well: ssl.SSLContext
    expected: Expected


def server(certificate: trustme.LeafCert, clients_of: trustme.CA | None = None) -> ssl.SSLContext:
    """``clients_of``: whose certificates it wants to see."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if clients_of is not None:
        clients_of.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def self_signed(directory: Path) -> ssl.SSLContext:
    own, path = trustme.CA(), directory / "self-signed.pem"
    path.write_bytes(own.private_key_pem.bytes() + own.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def refused(why: str, advice: str) -> Expected:
    return Expected(f"TLS: certificate verify failed: {why}; {advice}", "tls", "open")


_TRUST_IT = "if it is to be trusted, give its authority's certificate in ca_file"
_STALLED = "the TLS handshake was not over within 1 s, although the connection was made"


def table(ours: trustme.CA, directory: Path) -> dict[str, Row]:
    """By the name of the webhook; client certificates are files in ``directory``."""
    now = datetime.now(UTC)
    good = ours.issue_cert("localhost")
    well, asking = server(good), server(good, clients_of=ours)
    (directory / "right.pem").write_bytes(
        ours.issue_cert("cdc-hooks@shop.example").private_key_and_cert_chain_pem.bytes()
    )
    stranger = trustme.CA().issue_cert("cdc-hooks@shop.example").private_key_and_cert_chain_pem
    (directory / "wrong.pem").write_bytes(stranger.bytes())
    right, wrong = ({"client_cert_file": str(directory / name)} for name in ("right.pem", "wrong.pem"))
    expired = ours.issue_cert("localhost", not_after=now - timedelta(days=1))
    early = ours.issue_cert("localhost", not_before=now + timedelta(days=1))
    elsewhere, unknown = ours.issue_cert("other.shop.example"), trustme.CA().issue_cert("localhost")
    rows = {
        "expired": (shows(server(expired)), refused("certificate has expired", "its owner has to renew it")),
        "not-yet-valid": (
            shows(server(early)),
            refused("certificate is not yet valid", "check the clock of this machine"),
        ),
        "self-signed": (shows(self_signed(directory)), refused("self-signed certificate", _TRUST_IT)),
        "wrong-host": (
            shows(server(elsewhere)),
            refused(
                "Hostname mismatch, certificate is not valid for 'localhost'",
                "the URL needs a name that its certificate has",
            ),
        ),
        "unknown-authority": (
            shows(server(unknown)),
            refused("unable to get local issuer certificate", _TRUST_IT),
        ),
        "stalls-at-once": (stalls, Expected(_STALLED, "timeout", "open")),
        "stalls-after-the-hello": (after_the_hello(stalls), Expected(_STALLED, "timeout", "open")),
        "drips": (drips_a_record, Expected(_STALLED, "timeout", "open")),
        "closed": (
            after_the_hello(hangs_up),
            Expected("the connection was closed in the TLS handshake", "connect", "open"),
        ),
        "reset": (
            after_the_hello(resets),
            Expected("connection reset by peer in the TLS handshake", "connect", "open"),
        ),
        "no-tls": (
            after_the_hello(speaks_plain_http),
            Expected(
                "TLS: wrong version number; what answers there does not speak TLS: "
                "check the port, and the https:// of the URL",
                "tls",
                "open",
            ),
        ),
        "client-missing": (
            shows(asking),
            Expected(
                "TLS: tlsv13 alert certificate required; it wants a certificate of ours: set client_cert_file",
                "tls",
                "open",
            ),
        ),
        "client-wrong": (
            shows(asking),
            Expected(
                "TLS: tlsv1 alert unknown ca; it does not take our certificate: check client_cert_file",
                "tls",
                "open",
                wrong,
            ),
        ),
        "client-right": (shows(asking), Expected(None, options=right)),
    }
    return {
        name: Row(talk, asking if name.startswith("client") else well, expected)
        for name, (talk, expected) in rows.items()
    }


@pytest.fixture
def rows(authority: trustme.CA, tmp_path: Path) -> dict[str, Row]:
    return table(authority, tmp_path)


def test_every_fault_of_tls_is_called_by_its_name_and_all_arrives_when_it_is_healed(
    site: Site, rows: dict[str, Row], ca_file: Path, tmp_path: Path
) -> None:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    admitted = {name: TlsPatient(row.talk, row.well) for name, row in rows.items()}
    admitted["client-right"].healed = True
    expected = {name: row.expected for name, row in rows.items()}
    with hospital(admitted) as (patients, heal), receiving() as well:

        def configure(**changed: dict[str, Any]) -> None:
            webhooks = {
                name: webhook(
                    patient.url,
                    ["public.orders"],
                    ca_file=str(ca_file),
                    **OPTIONS,
                    **expected[name].options,
                    **changed.get(name, {}),
                )
                for name, patient in patients.items()
            }
            site.configure({**webhooks, "well": webhook(well.url, ["public.orders"])})

        configure()
        site.apply()
        with leading(site) as daemon:
            write_beside(site, well.until, range(1, 61))
            until_as_expected(site, daemon, expected)
            check_bounds(daemon, patients)
            # Nobody has heard anything but him who is trusted, and trusts.
            assert {name for name, patient in patients.items() if patient.bodies} == {"client-right"}

            heal()
            (tmp_path / "wrong.pem").write_bytes((tmp_path / "right.pem").read_bytes())  # without a reload
            configure(**{"client-missing": {"client_cert_file": str(tmp_path / "right.pem")}})
            daemon.reload()
            write_beside(site, well.until, range(61, 101))
            until_all_is_well(site, daemon, patients)
            assert not daemon.events("dead_letter")
            daemon.terminate()
            assert daemon.wait() == 0
