"""The connections of a sender: how many there are, which are used again, and when they are closed."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from cdc_hooks.deliver import http1
from cdc_hooks.deliver.outcome import Failure
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.post import Sender
from tests.acceptance.posting import (
    OK,
    SHORT_S,
    all_lost,
    attempt,
    kept_open,
    listening,
    post,
    sender,
    with_sender,
)
from tests.receivers import Receiver, answer, hang, raw

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.usefixtures("both_loops")


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


def test_what_came_unasked_and_is_not_read_yet_is_no_answer_to_the_next_request() -> None:
    """As when the loop was busy: it has not looked at the connection since."""
    connections = []

    async def answers(reader, stream) -> None:
        connections.append(stream)
        await reader.readuntil(b"}")
        stream.write(OK)
        await reader.read()

    async def main() -> None:
        async with listening(answers) as to:
            assert (await post(to)).ok
            unasked = connections[0].get_extra_info("socket").fileno()
            os.write(unasked, b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
            assert (await post(to)).ok

    asyncio.run(main())
    assert len(connections) == 2


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
        assert [classify(outcome) for outcome in outcomes] == ["no answer within 0.5 s"] * 2
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


@pytest.mark.parametrize("rest", [b"content-length: 0\r\n\r\n", b"content-length: 0\r\nconnection: close\r\n\r\n"])
def test_a_success_before_the_end_of_the_request_does_not_cut_it_short(rest: bytes) -> None:
    body, came = b"x" * 8_000_000, []

    async def at_once(reader, stream) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        stream.write(b"HTTP/1.1 200 OK\r\n" + rest)
        await stream.drain()
        await asyncio.sleep(0.05)
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        came.append(len(await reader.readexactly(length)))

    async def main() -> None:
        async with listening(at_once) as to:
            assert (await post(to, body)).ok
            while not came:
                await asyncio.sleep(0.01)

    asyncio.run(main())
    assert came == [len(body)]


def test_a_failure_whose_body_drips_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    closed_after = []

    async def drips(reader, stream) -> None:
        await reader.readuntil(b"}")
        stream.write(b"HTTP/1.1 500 No\r\ncontent-length: 1000\r\n\r\n")
        await reader.read()
        closed_after.append(True)

    async def main() -> None:
        monkeypatch.setattr("cdc_hooks.deliver.post._DRAINED_S", SHORT_S)
        async with listening(drips) as to:
            assert (await post(to)).status == 500
            assert all(connection.reusable is False for connection in to._pool._open)
            assert not to._drains

    asyncio.run(main())


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
