"""HTTP as receivers speak it, well and badly: what counts as an answer, and how a request begins."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.post import Sender
from cdc_hooks.errors import ConfigError
from tests.acceptance.posting import (
    OK,
    attempt,
    listening,
    message,
    post,
    sender,
    with_sender,
)
from tests.receivers import Receiver, answer, endless, raw

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.usefixtures("both_loops")


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nx-early: 1\r\ncontent-length: 9\r\n\r\n"]
)
def test_informational_answers_are_skipped(first: bytes) -> None:
    outcome, _ = attempt(raw(first * 3, OK))
    assert (outcome.status, outcome.body, outcome.headers) == (200, b"ok", (("content-length", "2"),))


@pytest.mark.parametrize("upgrade", [b"", b"connection: upgrade\r\nupgrade: websocket\r\n"])
def test_switching_protocols_is_no_success(upgrade: bytes) -> None:
    outcome, _ = attempt(raw(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade + b"\r\n\x00\x01"))
    assert (outcome.status, outcome.error, outcome.ok) == (101, None, False)


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"transfer-encoding: chunked\r\n\r\nzz\r\nok", b""),
        (b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n", b"ok"),
        (b"content-length: 500\r\n\r\nok", b"ok"),
        (b"content-length: 2\r\n\r\nok and more", b"ok"),
        (b"\r\nok", b"ok"),
    ],
)
def test_a_success_stays_one_whatever_its_body_is(framing: bytes, body: bytes) -> None:
    outcome, _ = attempt(raw(b"HTTP/1.1 200 OK\r\n" + framing))
    assert outcome.ok
    assert outcome.body == body


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (b"x: y\r\n" * 64, None),
        (b"x: y\r\n" * 65, "it has more than 64 header fields"),
        (b"x: %b\r\n" % (b"y" * 8189), None),
        (b"x: %b\r\n" % (b"y" * 8190), "one of its header fields has more than 8190 bytes"),
        (b"%b: y\r\n" % (b"x" * 8190), "one of its header fields has more than 8190 bytes"),
    ],
)
def test_headers_have_limits(headers: bytes, said: str | None) -> None:
    outcome, _ = attempt(raw(b"HTTP/1.1 503 No\r\n" + headers + b"\r\n"))
    assert classify(outcome) == (f"not an HTTP answer: {said}" if said else "answered 503")


def test_of_many_headers_some_are_kept_and_of_doubled_ones_the_first_counts() -> None:
    headers = b"x: y\r\n" * 40 + b"retry-after: 1\r\nRetry-After: 2\r\nlocation: /a\r\nlocation: /b\r\n"
    outcome, _ = attempt(raw(b"HTTP/1.1 503 No\r\n" + headers + b"\r\n"))
    assert len(outcome.headers) == 32
    assert (outcome.retry_after, outcome.location) == ("1", "/a")


def test_trailers_are_no_headers() -> None:
    trailers = b"x: y\r\n" * 100
    outcome, _ = attempt(raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + trailers + b"\r\n"))
    assert outcome.headers == (("transfer-encoding", "chunked"),)


@pytest.mark.parametrize(
    "sloppy",
    [
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nx: folded\r\n  here\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx: a\x01b\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n",
    ],
)
def test_what_many_servers_send_is_taken(sloppy: bytes) -> None:
    outcome, _ = attempt(raw(sloppy))
    assert outcome.ok
    assert outcome.body == b"ok"


@pytest.mark.parametrize(
    "smuggling",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
    ],
)
def test_two_ends_of_an_answer_are_none(smuggling: bytes) -> None:
    outcome, _ = attempt(raw(smuggling))
    assert outcome.error is Failure.PROTOCOL


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\n"])
def test_headers_without_an_end_are_not_kept(beginning: bytes) -> None:
    outcome, _ = attempt(endless(beginning))
    assert outcome.error is Failure.PROTOCOL
    assert classify(outcome) == "not an HTTP answer: its headers have more than 65536 bytes"


def test_informational_answers_without_an_end() -> None:
    async def early(_request, stream) -> bool:
        while True:
            stream.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 100)
            await stream.drain()

    outcome, _ = attempt(early)
    assert classify(outcome) == "not an HTTP answer: its headers have more than 65536 bytes"


@pytest.mark.parametrize("status", [b"000", b"099", b"1000"])
def test_a_status_that_is_none(status: bytes) -> None:
    outcome, _ = attempt(raw(b"HTTP/1.1 " + status + b" OK\r\ncontent-length: 0\r\n\r\n"))
    assert (outcome.status, outcome.error) == (None, Failure.PROTOCOL)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2p1\r\n", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03"])
def test_one_who_speaks_first(greeting: bytes) -> None:
    async def greet(reader, stream) -> None:
        stream.write(greeting)
        await reader.read()

    async def run() -> Outcome:
        async with listening(greet) as to:
            return await post(to)

    assert asyncio.run(run()).error is Failure.PROTOCOL


def test_an_answer_in_pieces() -> None:
    async def dribble(_request, stream) -> bool:
        for number in range(len(OK)):
            stream.write(OK[number : number + 1])
            await stream.drain()
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)  # so that it travels alone
        return True

    outcome, _ = attempt(dribble)
    assert (outcome.status, outcome.body) == (200, b"ok")


# What is sent.


@pytest.mark.parametrize(
    ("url", "request_line", "host"),
    [
        ("http://h.example", "POST / HTTP/1.1", "h.example"),
        ("http://h.example:80/?a=b|c", "POST /?a=b|c HTTP/1.1", "h.example"),
        ("https://H.example:443/a%2fb/../%7ec?x=%2B+#f", "POST /a%2fb/../%7ec?x=%2B+ HTTP/1.1", "h.example"),
        ("https://h.example.:8443//a", "POST //a HTTP/1.1", "h.example:8443"),
        ("http://[2001:DB8::1]/", "POST / HTTP/1.1", "[2001:db8::1]"),
        ("http://[::1]:8080/", "POST / HTTP/1.1", "[::1]:8080"),
        ("http://user:password@h.example/", "POST / HTTP/1.1", "h.example"),
        ("http://bücher.example/", "POST / HTTP/1.1", "xn--bcher-kva.example"),
    ],
)
def test_how_a_request_begins(url: str, request_line: str, host: str) -> None:
    first, second, *_ = sender(url)._head.decode("ascii").split("\r\n")
    assert (first, second) == (request_line, f"host: {host}")


@pytest.mark.parametrize(
    "url",
    [
        *["ftp://h/secret", "h/secret", "http:///secret", "http://h:99999/secret", "http://h/secret\r\nx: y"],
        *["http://h/ secret", "http://h/sécret", "http://h\r\n/secret", "http://[::1/secret", "http://h:0/secret"],
        *[
            "https://./secret",
            "http://a..b/secret",
            "http://h../secret",
            "http://h%2fx/secret",
            f"http://{'h' * 64}/secret",
        ],
    ],
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sender(url)
    assert caught.value.hint
    assert "cret" not in f"{caught.value.message}{caught.value.hint}{caught.value.__cause__}"


@pytest.mark.parametrize(
    "header", [{"x\r\ny": "1"}, {"x y": "1"}, {"": "1"}, {"x": "secret\r\ny: 1"}, {"x": "secret\0"}, {"x": "secret€"}]
)
def test_a_header_that_cannot_be_sent(header: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        sender("http://h/", headers=header)
    assert caught.value.message.isprintable()
    assert "secret" not in f"{caught.value.message}{caught.value.hint}"


def test_headers_of_the_transport_cannot_be_replaced() -> None:
    _, receiver = attempt(answer(), headers={"Host": "other", "Content-Length": "1", "Connection": "close", "X": "é"})
    (request,) = receiver.requests
    assert request.header("host") == f"127.0.0.1:{receiver.port}"
    assert request.header("connection") is None
    assert request.header("x") == "é"


def test_a_signature_cannot_bring_a_line_break() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        outcome = await to.post(message(), {"webhook-id": "x\r\ny: z"})
        assert classify(outcome) == "ValueError: there is a line break in a header"
        assert receiver.connections == 0

    with_sender(test)


# Whatever comes.

SEEDS = [
    OK,
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n5\r\nbegin\r\n0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 503 No\r\nretry-after: 5\r\ncontent-length: 3\r\n\r\nno!",
    b"HTTP/1.0 302 Found\r\nlocation: http://h/\r\nconnection: close\r\n\r\nuntil the end",
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n\x00\x01",
]
TROUBLE = [b"\r\n", b"\n", b"\r", b"\0", b"\xff", b" ", b":", b"0", b"-1", b"99999999999999999999", b"a" * 9000, OK]


def mutated(chance: random.Random) -> bytes:
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(data) + 1)
        data[at : at + chance.randrange(4)] = chance.choice([*TROUBLE, chance.randbytes(3)])
    return bytes(data[: chance.randrange(len(data) + 1)] if chance.random() < 0.2 else data)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_is_an_outcome(seed: int) -> None:
    chance = random.Random(seed)

    async def babble(reader, stream) -> None:
        while chance.random() < 0.8:
            await reader.readuntil(b"\r\n\r\n")
            data = mutated(chance)
            while data:
                size = chance.choice([1, 7, 100, len(data)])
                stream.write(data[:size])
                data = data[size:]
                await stream.drain()
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
        if chance.random() < 0.5:  # else it is closed in order
            linger = struct.pack("ii", 1, 0)
            stream.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def run() -> list[Outcome]:
        async with listening(babble, total_timeout_s=0.1, max_connections=8) as to:
            outcomes = []
            for _ in range(30):
                outcomes += await asyncio.gather(*(post(to, b"") for _ in range(8)))
            assert not to._places.locked()
            return outcomes

    outcomes = asyncio.run(run())
    assert all((outcome.status is None) != (outcome.error in (None, Failure.REDIRECT)) for outcome in outcomes)
    kinds = {outcome.error for outcome in outcomes}
    assert Failure.OTHER not in kinds
    assert {None, Failure.PROTOCOL, Failure.RESET} <= kinds
