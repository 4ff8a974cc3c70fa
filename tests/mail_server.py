"""A real SMTP server on a loopback port, in a thread, which keeps what it gets and refuses what it is told to."""

from __future__ import annotations

import email
import email.policy
import ssl
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session


@dataclass
class Mailbox:
    """What came. ``refused``: recipients that are turned away; ``answers``: to the next mails, one each."""

    refused: Collection[str] = ()
    answers: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    attempts: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        self._news = threading.Condition()

    def wait(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        """Return as soon as it holds; it is looked at after each mail."""
        with self._news:
            assert self._news.wait_for(condition, timeout_s), f"not within {timeout_s} s; {len(self.mails)} mails came"

    # As aiosmtpd calls its handlers.

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 there is nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802
        with self._news:
            self.attempts += 1
            said = self.answers.pop(0) if self.answers else "250 2.0.0 queued as 4711"
            if said.startswith("250"):
                assert isinstance(envelope.content, bytes)
                self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
                self.recipients.append(list(envelope.rcpt_tos))
                self.encrypted.append(isinstance(server.transport.get_extra_info("ssl_object"), ssl.SSLObject))
            self._news.notify_all()
        return said


class _Bound(Controller):
    """On a port that the system chooses."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(
    *,
    authority: trustme.CA | None = None,
    from_the_first: bool = False,
    login: tuple[str, str] | None = None,
    **options: Any,
) -> Iterator[Mailbox]:
    """``authority``: with STARTTLS, or with TLS from the first byte on; ``login``: only with this user and password."""
    box = Mailbox(**options)
    tls = None
    if authority is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)

    def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        came = (given.login.decode(), given.password.decode())
        box.logins.append(came[0])
        return AuthResult(success=came == login, handled=False)

    controller = _Bound(
        box,
        hostname="127.0.0.1",
        port=0,
        ssl_context=tls if from_the_first else None,
        tls_context=None if from_the_first else tls,
        require_starttls=tls is not None and not from_the_first,
        auth_required=login is not None,
        auth_require_tls=not from_the_first,
        authenticator=authenticate,
    )
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()
