"""HTTP as receivers speak it, well and badly: which connections are used again, and what counts as an answer."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import uvloop

from cdc_hooks.deliver import http1
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.post import Sender
from cdc_hooks.errors import ConfigError
from tests.acceptance.test_post import SHORT_S, attempt, message, post, sender, with_sender
from tests.receivers import Behaviour, Receiver, answer, endless, hang, raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def run_on_uvloop(main):
    # Not uvloop.run, which from Python 3.12 on calls the very asyncio.run that is replaced here.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@pytest.fixture(autouse=True, params=[asyncio.run, run_on_uvloop], ids=["asyncio", "uvloop"])
def event_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "run", request.param)


def kept_open(answer: bytes) -> Behaviour:
    """Exactly this, and then the receiver waits for the next request, whatever it said."""

    async def behave(_request, stream) -> bool:
        stream.write(answer)
        await stream.drain()
        return True

    return behave


@asynccontextmanager
async def listening(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], **options
) -> AsyncIterator[Sender]:
    """A sender to one who listens and does as he likes."""

    connections: dict[asyncio.Task, asyncio.Task] = {}

    async def connected(reader, stream) -> None:
        talking = asyncio.create_task(talk(reader, stream))
        connections[asyncio.current_task()] = talking
        await asyncio.wait([talking])
        if not talking.cancelled() and talking.exception() is not None:
            assert isinstance(talking.exception(), (OSError, asyncio.IncompleteReadError)), talking.exception()
        stream.close()
        with suppress(OSError):
            await stream.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        to = sender(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", **options)
        try:
            yield to
        finally:
            await to.aclose()
            for talking in connections.values():
                talking.cancel()
            await asyncio.gather(*connections)


async def all_lost(to: Sender) -> None:
    while to._pool._open:
        await asyncio.wait([connection.lost for connection in to._pool._open])


# Which connections are used again.


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-trailer: 1\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n", True),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nok", False),
        (OK + OK, False),
        (OK + b"HTTP/1.1 2", False),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", False),
    ],
)
def test_a_connection_is_used_again_where_that_is_safe(head: bytes, again: bool) -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = kept_open(head)
        for _ in range(3):
            assert (await post(to)).status is not None
        assert receiver.connections == (1 if again else 3)

    with_sender(test)


def test_after_the_receiver_closed_a_connection_there_is_a_new_one() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = raw(OK)
        for number in (1, 2, 3):
            assert (await post(to)).ok
            await all_lost(to)
            assert receiver.connections == number

    with_sender(test)


def test_what_comes_unasked_costs_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        idle = asyncio.Event()

        async def chatter(_request, stream) -> bool:
            stream.write(OK)
            await idle.wait()
            stream.write(OK)
            return True

        receiver.next_answers = [chatter]
        assert (await post(to)).ok
        idle.set()
        await all_lost(to)
        assert (await post(to)).body == b""
        assert receiver.connections == 2

    monkeypatch.setattr(http1, "_IDLE_S", 1000)
    with_sender(test)


def test_an_idle_connection_is_closed_before_the_receiver_would(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        await asyncio.gather(post(to), post(to))
        assert receiver.open_connections == 2
        await receiver.until(lambda: receiver.open_connections == 0)

    monkeypatch.setattr(http1, "_IDLE_S", 0.05)
    with_sender(test, max_connections=2)


def test_a_connection_that_was_idle_for_long_is_not_used_even_if_it_is_open() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        await post(to)
        to._pool._idle[0].idle_since -= http1._IDLE_S  # as if the loop had been busy when it was to be closed
        await post(to)
        assert receiver.connections == 2

    with_sender(test)


def test_no_more_posts_at_once_than_there_are_connections_for() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        busy, most = 0, 0

        async def slow(request, stream) -> bool:
            nonlocal busy, most
            busy, most = busy + 1, max(most, busy + 1)
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
            busy -= 1
            return await answer()(request, stream)

        receiver.then = slow
        for _ in range(3):
            assert all(outcome.ok for outcome in await asyncio.gather(*(post(to) for _ in range(100))))
        assert (len(receiver.requests), receiver.connections, most) == (300, 7, 7)

    with_sender(test, max_connections=7)


def test_a_hundred_posts_at_once() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        for _ in range(3):
            assert all(outcome.ok for outcome in await asyncio.gather(*(post(to) for _ in range(100))))
        assert (len(receiver.requests), receiver.connections) == (300, 100)

    with_sender(test, max_connections=100)


def test_waiting_for_a_connection_ends_with_the_deadline() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = hang()
        outcomes = await asyncio.gather(post(to), post(to))
        assert [classify(outcome) for outcome in outcomes] == ["no answer within 0.2 s"] * 2
        assert len(receiver.requests) == 1

    with_sender(test, total_timeout_s=SHORT_S)


def test_a_cancelled_post_makes_room_for_the_next() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.next_answers = [hang(), hang(b"HTTP/1.1 500 Broken\r\ncontent-length: 5\r\n\r\n")]
        for number in (1, 2):
            first, second = asyncio.create_task(post(to)), asyncio.create_task(post(to))
            await receiver.until(lambda number=number: len(receiver.requests) == number)
            second.cancel()  # while it waits for a place
            first.cancel()
            await asyncio.wait([first, second])
        assert (await post(to)).ok

    with_sender(test)


def test_a_post_that_is_cancelled_while_it_reads_closes_its_connection() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = hang(b"HTTP/1.1 500 Broken\r\ncontent-length: 5\r\n\r\n")
        attempt = asyncio.create_task(post(to))
        while not any(connection.over for connection in to._pool._open):
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the headers have come; now they are noticed, too
        await asyncio.sleep(0)
        attempt.cancel()
        await asyncio.wait([attempt])
        assert attempt.cancelled()
        assert not to._drains
        await receiver.until(lambda: receiver.open_connections == 0)

    with_sender(test)


def test_a_failed_connection_makes_room_for_the_next() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        refuse = True

        async def resolver(host, port):
            if refuse:
                raise OSError("not now")
            return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)

        to = sender(receiver.url, resolver=resolver)
        assert (await post(to)).error is Failure.CONNECT
        refuse = False
        assert (await post(to)).ok
        await to.aclose()

    with_sender(test)


def test_closing_ends_what_is_under_way() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = hang()
        attempt = asyncio.create_task(post(to))
        await receiver.until(lambda: len(receiver.requests) == 1)
        await to.aclose()
        assert not to._pool._open
        assert (await attempt).error is Failure.RESET
        assert classify(await post(to)) == "the connection was closed"

    with_sender(test)


def test_a_body_that_drips_does_not_hold_its_connection_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = hang(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nbegin")
        assert (await post(to)).ok
        assert len(to._drains) == 1
        await receiver.until(lambda: receiver.open_connections == 0)
        assert not to._drains

    monkeypatch.setattr("cdc_hooks.deliver.post._DRAINED_S", 0.1)
    with_sender(test)


def test_after_closing_nothing_is_left_to_do() -> None:
    async def test(_: Receiver, to: Sender) -> None:
        await post(to)
        await to.aclose()
        assert to._pool._sweep is not None
        assert to._pool._sweep.cancelled()

    with_sender(test)


def test_small_requests_are_not_held_back_by_the_system() -> None:
    async def test(_: Receiver, to: Sender) -> None:
        await post(to)
        (connection,) = to._pool._idle
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    with_sender(test)


# What counts as an answer.


@pytest.mark.parametrize("keep", [True, False], ids=["open", "closed"])
def test_an_answer_before_the_end_of_the_request_is_the_answer(keep: bool) -> None:
    connections = 0

    async def too_large(reader, stream) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        stream.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno!")
        await stream.drain()
        if keep:
            with suppress(OSError):
                while await reader.read(2**16):
                    pass
        # Where nothing was read, the end is a reset.

    async def run() -> None:
        async with listening(too_large) as to:
            for number in range(1, 6):
                outcome = await post(to, b"x" * 8_000_000)
                assert (outcome.status, outcome.error, outcome.body) == (413, None, b"no!")
                assert connections == number

    asyncio.run(run())


def test_of_a_large_body_little_waits_in_the_process() -> None:
    async def run() -> None:
        async def deaf(_reader, stream) -> None:
            stream.transport.pause_reading()
            heard.set()
            await done.wait()
            stream.transport.abort()

        heard, done = asyncio.Event(), asyncio.Event()
        async with listening(deaf, total_timeout_s=SHORT_S) as to:
            attempt = asyncio.create_task(post(to, b"x" * 50_000_000))
            await heard.wait()
            (connection,) = to._pool._open
            assert connection._transport.get_write_buffer_size() <= 2 * http1._PIECE_BYTES
            assert (await attempt).error is Failure.TIMEOUT
            done.set()

    asyncio.run(run())


def test_a_body_larger_than_all_buffers_arrives_whole() -> None:
    body = b"x" * 40_000_000
    outcome, receiver = attempt(answer(), body=body)
    assert outcome.ok
    assert receiver.requests[0].body == body


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


def test_the_resolver_is_asked_about_addresses_too() -> None:
    asked = []

    async def nobody(host, port):
        asked.append((host, port))
        raise OSError(f"{host} is a loopback address")

    outcome, receiver = attempt(answer(), resolver=nobody)
    assert classify(outcome) == "127.0.0.1 cannot be resolved: 127.0.0.1 is a loopback address"
    assert asked == [("127.0.0.1", receiver.port)]


def test_the_next_address_is_tried() -> None:
    async def several(_host, port):
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

    assert attempt(answer(), resolver=several)[0].ok


def test_a_host_without_an_address() -> None:
    async def none(_host, _port):
        return []

    assert classify(attempt(answer(), resolver=none)[0]) == "127.0.0.1 cannot be resolved: it has no address"


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
        async with listening(babble, total_timeout_s=SHORT_S / 2, max_connections=8) as to:
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
