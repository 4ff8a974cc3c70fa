"""Mail over SMTP, to a real server: STARTTLS, TLS, login, and what servers do that will not have it."""

from __future__ import annotations

import asyncio
import base64
import socket
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from cdc_hooks.config import Config
from cdc_hooks.config.load import parse
from cdc_hooks.config.redact import MASK
from cdc_hooks.model import Cause
from cdc_hooks.ops.metrics import Metrics
from cdc_hooks.ops.notices import Notices
from cdc_hooks.ops.notices.channels import NotSent, to_email
from cdc_hooks.ops.notices.words import Notice
from tests.acceptance.posting import listening_at
from tests.mail_server import Mailbox, mail_server

pytestmark = [
    pytest.mark.usefixtures("both_loops"),
    # The server does not see that TLS from the first byte on is TLS.
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
]

PASSWORD = "correct horse battery"
AT = 1_795_000_000.0
PAUSED = Notice("msg_1", "cdc_hooks.webhook.paused", "order-sync is paused", "order-sync", "410 Gone", "resume it", AT)


def configured(port: int, **keys: Any) -> Config:
    email = {"host": "localhost", "port": port, "tls": "none", "from": "cdc@shop.example", "to": "[ops@shop.example]"}
    written = ", ".join(f"{key}: {value}" for key, value in (email | keys).items())
    text = (
        "database: {dsn: dbname=shop}\nnetwork: {allow_http: true}\n"
        "webhooks: {order-sync: {url: 'https://a.example', secret: 0123456789abcdef, tables: [public.orders]}}\n"
        f"notify: {{email: {{{written}}}}}\n"
    )
    return parse(text, Path("config.yaml"), {})


def send(box_or_port: Mailbox | int, *notices: Notice, **keys: Any) -> str:
    port = box_or_port if isinstance(box_or_port, int) else box_or_port.port
    email = configured(port, **keys).notify.email
    assert email is not None
    return asyncio.run(to_email(email, "db-1.shop.example")(notices or [PAUSED]))


def not_sent(box_or_port: Mailbox | int, **keys: Any) -> NotSent:
    with pytest.raises(NotSent) as failed:
        send(box_or_port, **keys)
    assert PASSWORD not in failed.value.why
    return failed.value


def test_a_mail() -> None:
    with mail_server() as box:
        assert send(box) == "answered: 2.0.0 queued as 4711"
    (mail,) = box.mails
    assert mail["Subject"] == "[cdc-hooks] order-sync is paused"
    assert (mail["From"], mail["To"]) == ("cdc@shop.example", "ops@shop.example")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == "<msg_1@shop.example>"
    assert mail.get_content_type() == "text/plain"
    text = mail.get_content()
    assert "What happened: 410 Gone" in text
    assert "What to do: resume it" in text
    assert "2026-11-18 11:06 UTC" in text
    assert "cdc-hooks on db-1.shop.example" in text


def test_starttls_and_login(authority: trustme.CA, ca_file: Path) -> None:
    with mail_server(authority=authority, login=("cdc", PASSWORD)) as box:
        send(box, tls="starttls", ca_file=ca_file, user="cdc", password=PASSWORD)
    assert len(box.mails) == 1
    assert box.encrypted == [True]
    assert box.logins == ["cdc"]


def test_tls_from_the_first_byte_and_login(authority: trustme.CA, ca_file: Path) -> None:
    with mail_server(authority=authority, from_the_first=True, login=("cdc", PASSWORD)) as box:
        send(box, tls="tls", ca_file=ca_file, user="cdc", password=PASSWORD)
    assert len(box.mails) == 1
    assert box.encrypted == [True]
    assert box.logins == ["cdc"]


def test_the_wrong_password(authority: trustme.CA, ca_file: Path) -> None:
    with mail_server(authority=authority, login=("cdc", "another one")) as box:
        failed = not_sent(box, tls="starttls", ca_file=ca_file, user="cdc", password=PASSWORD)
    assert "535" in failed.why
    assert failed.for_good
    assert not box.mails


@pytest.mark.parametrize("way", ["PLAIN", "LOGIN"])
def test_a_server_that_repeats_the_login(way: str) -> None:
    async def repeats(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        stream.write(b"220 welcome\r\n")
        while line := (await reader.readline()).decode().strip():
            if line.startswith("EHLO"):
                stream.write(f"250-mail.example\r\n250 AUTH {way}\r\n".encode())
            elif line == f"AUTH LOGIN {base64.b64encode(b'cdc').decode()}":
                stream.write(b"334 UGFzc3dvcmQ6\r\n")
            else:
                stream.write(f'500 5.5.1 Command unrecognized: "{line}"\r\n'.encode())

    async def run() -> str:
        async with listening_at(repeats) as port:
            email = configured(port, host="127.0.0.1", user="cdc", password=PASSWORD).notify.email
            assert email is not None
            with pytest.raises(NotSent) as failed:
                await to_email(email, "db-1")([PAUSED])
            return failed.value.why

    why = asyncio.run(run())
    assert "Command unrecognized" in why
    assert MASK in why
    for told in (PASSWORD, f"\0cdc\0{PASSWORD}"):
        assert base64.b64encode(told.encode()).decode() not in why


def test_nothing_goes_to_a_server_without_starttls_if_it_is_wanted() -> None:
    with mail_server() as box:
        assert "STARTTLS" in not_sent(box, tls="starttls").why
    assert not box.attempts


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_server_that_nobody_vouches_for(authority: trustme.CA, tls: str) -> None:
    with mail_server(authority=authority, from_the_first=tls == "tls", login=("cdc", PASSWORD)) as box:
        assert "certificate" in not_sent(box, tls=tls, user="cdc", password=PASSWORD).why
    assert not box.attempts
    assert not box.logins


def test_a_recipient_who_is_refused_does_not_cost_the_others_the_mail() -> None:
    with mail_server(refused={"gone@shop.example"}) as box:
        said = send(box, to="[gone@shop.example, ops@shop.example]")
    assert "gone@shop.example was refused: 550" in said
    assert box.recipients == [["ops@shop.example"]]


def test_all_recipients_are_refused() -> None:
    with mail_server(refused={"ops@shop.example"}) as box:
        failed = not_sent(box)
    assert "ops@shop.example was refused: 550 5.1.1 there is nobody of that name" in failed.why
    assert failed.for_good


@pytest.mark.parametrize(("answer", "for_good"), [("451 4.3.0 try again", False), ("554 5.7.1 no", True)])
def test_a_mail_is_refused(answer: str, *, for_good: bool) -> None:
    with mail_server(answers=[answer]) as box:
        failed = not_sent(box)
    assert answer in failed.why
    assert failed.for_good is for_good


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failed = not_sent(taken.getsockname()[1], host="127.0.0.1")
    assert not failed.for_good


async def _hangs(_reader: asyncio.StreamReader, _stream: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def _drips(_reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
    while True:
        stream.write(b"220-welcome\r\n")
        await stream.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("talk", [_hangs, _drips])
def test_a_server_that_never_comes_to_the_point(talk: Any) -> None:
    async def run() -> None:
        async with listening_at(talk) as port:
            email = configured(port, host="127.0.0.1", timeout="300ms").notify.email
            assert email is not None
            with pytest.raises(NotSent, match=r"no answer within 0\.3 s|too long"):
                await to_email(email, "db-1")([PAUSED])

    asyncio.run(run())


async def _takes_its_time(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
    stream.write(b"220 welcome\r\n")
    while line := await reader.readline():
        await asyncio.sleep(1.0)
        stream.write(b"354 go on\r\n" if line == b"DATA\r\n" else b"250 OK\r\n")


def test_the_time_is_for_the_whole_mail_and_not_for_each_answer() -> None:
    async def run() -> None:
        # Far from each answer: Python 3.11 may miss the end of the time when one comes just then (asyncio.wait_for).
        async with listening_at(_takes_its_time) as port:
            email = configured(port, host="127.0.0.1", timeout="1500ms").notify.email
            assert email is not None
            with pytest.raises(NotSent, match=r"no answer within 1\.5 s"):
                await to_email(email, "db-1")([PAUSED])

    asyncio.run(run())


def test_no_header_can_be_smuggled_in() -> None:
    async def run(port: int) -> None:
        notices = Notices(Metrics())
        notices.configure(configured(port), lambda: pytest.fail("there is no webhook"))
        what = "HTTP/1.1 500\r\nBcc: thief@else.example\r\n\r\n.\r\nMAIL FROM:<x@else.example>\x00"
        notices.tell(Cause.PAUSED, "order-sync\r\nBcc: thief@else.example", what, "resume\nit")
        running = asyncio.create_task(notices.run())
        await notices.flush(20)
        running.cancel()

    with mail_server() as box:
        asyncio.run(run(box.port))
    (mail,) = box.mails
    assert mail["Bcc"] is None
    assert box.recipients == [["ops@shop.example"]]
    assert "\n" not in mail["Subject"]
    assert "What happened: HTTP/1.1 500 Bcc: thief@else.example . MAIL FROM:" in mail.get_content()


def test_several_things_at_once_are_one_mail_and_are_counted_by_themselves() -> None:
    metrics = Metrics()

    async def run(port: int) -> None:
        notices = Notices(metrics)
        notices.configure(configured(port), lambda: pytest.fail("there is no webhook"))
        running = asyncio.create_task(notices.run())
        notices.tell(Cause.PAUSED, "order-sync", "410 Gone", "resume it")
        for _ in range(9):  # it is seen, and nothing sent yet
            await asyncio.sleep(0)
        notices.tell(Cause.DEAD_LETTER, "order-sync", "answered 500", "resend it")
        notices.tell(Cause.DEAD_LETTER, "order-sync", "answered 500", "resend it")
        notices.tell(Cause.CAPTURE, None, "public.orders: a trigger is missing", "apply")
        await asyncio.to_thread(box.wait, lambda: len(box.mails) == 1)
        await notices.flush(20)
        running.cancel()

    with mail_server() as box:
        asyncio.run(run(box.port))
    (mail,) = box.mails
    assert mail["Subject"] == "[cdc-hooks] order-sync is paused, and 2 more"
    assert all(text in mail.get_content() for text in ("410 Gone", "answered 500", "a trigger is missing"))
    counted = {"channel": "email", "outcome": "sent"}
    assert metrics.registry.get_sample_value("cdc_hooks_notices_total", counted) == 3


def test_a_mail_is_tried_again_with_the_same_id_and_then_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_hooks.ops.notices.outbox.RETRY_S", (0.01, 0.02))
    metrics = Metrics()

    async def run(port: int) -> None:
        notices = Notices(metrics)
        notices.configure(configured(port), lambda: pytest.fail("there is no webhook"))
        running = asyncio.create_task(notices.run())
        notices.tell(Cause.PAUSED, "order-sync", "410 Gone", "resume it")
        await asyncio.to_thread(box.wait, lambda: box.attempts == 3)
        while notices._email.left:
            await asyncio.sleep(0)
        notices.tell(Cause.DEAD_LETTER, "order-sync", "answered 500", "resend it")
        await asyncio.to_thread(box.wait, lambda: len(box.mails) == 1)
        await notices.flush(20)
        running.cancel()

    with mail_server(answers=["451 later"] * 3 + ["451 later", "250 OK"]) as box, capture_logs() as log:
        asyncio.run(run(box.port))
    assert [line["event"] for line in log] == ["notice_retried"] * 2 + [
        "notice_failed",
        "notice_retried",
        "notice_sent",
    ]
    assert len({line["id"] for line in log}) == 2
    assert box.mails[0]["Message-ID"] == f"<{log[-1]['id']}@shop.example>"
    for outcome in ("sent", "failed"):
        counted = {"channel": "email", "outcome": outcome}
        assert metrics.registry.get_sample_value("cdc_hooks_notices_total", counted) == 1
