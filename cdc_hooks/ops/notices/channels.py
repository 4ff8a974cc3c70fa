"""The ways to tell somebody: an event to an endpoint, or mail over SMTP. The edge to the network."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import cast

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException, SMTPTimeoutError

from cdc_hooks.config import Email, NoticeWebhook, Tls
from cdc_hooks.config.redact import MASK
from cdc_hooks.deliver.echo import Echo
from cdc_hooks.deliver.faults import plain
from cdc_hooks.deliver.post import Sender
from cdc_hooks.deliver.sign import sign
from cdc_hooks.deliver.trust import Files, Trust
from cdc_hooks.errors import CdcHooksError
from cdc_hooks.model import Message
from cdc_hooks.ops.notices.words import Notice, event, mail

QUIT_S = 2.0

Send = Callable[[Sequence[Notice]], Awaitable[str]]
"""Sends notices; returns what was answered, in words. Raises NotSent."""


class NotSent(Exception):
    """It did not get through; why, in words. ``for_good``: trying again would not help."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.for_good = for_good


def to_webhook(webhook: NoticeWebhook, new_sender: Callable[[], Sender], host: str) -> Send:
    """Posts an event for each notice. With a connection of its own: there is a notice now and then, at most."""

    async def send(notices: Sequence[Notice]) -> str:
        try:
            sender = new_sender()
        except CdcHooksError as error:
            raise NotSent(error.message) from error
        try:
            answers = [await _post(sender, webhook, notice, host) for notice in notices]
        finally:
            await sender.aclose()
        return ", ".join(dict.fromkeys(answers))

    return send


async def _post(sender: Sender, webhook: NoticeWebhook, notice: Notice, host: str) -> str:
    body = event(notice, host)
    message = Message(notice.id, body, "", notice.type, 1, notice.id, notice.id, None)
    outcome = await sender.post(message, sign(webhook.signing_keys, notice.id, int(time.time()), body))
    if outcome.ok:
        return f"answered {outcome.status}"
    if outcome.status is None:
        raise NotSent(f"{outcome.error}: {outcome.detail}")
    said = plain(outcome.body.decode(errors="replace").strip(), longest=200)
    raise NotSent(f"answered {outcome.status}" + (f": {said}" if said else ""))


def to_email(email: Email, host: str) -> Send:
    """Hands all of them over as one mail."""

    async def send(notices: Sequence[Notice]) -> str:
        try:
            async with asyncio.timeout(email.timeout):
                return await _hand_over(email, notices, host)
        except (SMTPException, OSError) as error:
            why, for_good = _why(error, email.timeout)
            raise NotSent(_without_login(why, email), for_good=for_good) from None
        except (CdcHooksError, ValueError) as error:
            raise NotSent(plain(str(error)), for_good=True) from None

    return send


async def _hand_over(email: Email, notices: Sequence[Notice], host: str) -> str:
    encrypted = email.tls is not Tls.NONE
    client = SMTP(
        hostname=email.host,
        port=email.usual_port,
        # Not as DNS may know us: asking it can take long.
        local_hostname=host if "." in host and host.isascii() else "[127.0.0.1]",
        timeout=email.timeout,
        use_tls=email.tls is Tls.TLS,
        start_tls=email.tls is Tls.STARTTLS,
        tls_context=Trust(Files(email.ca_file)).context() if encrypted else None,
    )
    message = mail(notices, host, email.from_, email.to)
    try:
        await client.connect()
        if email.user is not None and email.password is not None:
            await client.login(email.user, email.password.get_secret_value())
        refused, answer = await client.send_message(message, sender=email.from_, recipients=list(email.to))
        with suppress(SMTPException, OSError):  # it is handed over: what comes now changes nothing
            await client.execute_command(b"QUIT", timeout=QUIT_S)
    finally:
        _hang_up(client)
    said = plain(f"answered: {answer}", longest=200)
    return said + "".join(f"; {address} was refused: {_answer(why)}" for address, why in refused.items())


def _without_login(why: str, email: Email) -> str:
    """A server that does not understand a command may repeat it: the password, as the ways to log in write it."""
    if email.password is None:
        return why
    password = email.password.get_secret_value()
    pair = f"\0{email.user}\0{password}"
    forms = (base64.b64encode(form.encode()).decode() for form in (password, pair))
    # It was shortened, and may end in the middle of one.
    return Echo("", forms).masked(why.replace(password, MASK).encode(), cut=True).decode()


def _hang_up(client: SMTP) -> None:
    """At once: an orderly end of TLS waits for the other side, which may be the one that hangs."""
    if client.transport is not None:
        cast("asyncio.WriteTransport", client.transport).abort()
    client.close()


def _answer(response: object) -> str:
    code, text = getattr(response, "code", ""), getattr(response, "message", "")
    return plain(f"{code} {' '.join(str(text).split())}", longest=200)


def _why(error: SMTPException | OSError, timeout_s: float) -> tuple[str, bool]:
    """In words, and whether it is for good: a status of 5xx."""
    if isinstance(error, SMTPRecipientsRefused):
        for_good = all(one.code >= 500 for one in error.recipients)
        return "; ".join(f"{one.recipient} was refused: {_answer(one)}" for one in error.recipients), for_good
    if isinstance(error, SMTPResponseException):
        return f"answered: {_answer(error)}", 500 <= error.code < 600
    if isinstance(error, SMTPTimeoutError | TimeoutError):
        return f"no answer within {timeout_s:g} s", False
    return plain(str(error) or type(error).__name__), False
