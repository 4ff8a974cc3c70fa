"""A receiver that closes a connection just as it is used again: one more request, and when there is none."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from cdc_hooks.deliver.outcome import Failure
from cdc_hooks.deliver.policy import classify
from tests.acceptance.posting import SECRET, SHORT_S, post, sender, with_sender
from tests.receivers import Receiver, answer, hang, raw

if TYPE_CHECKING:
    from pathlib import Path

    from cdc_hooks.deliver.post import Sender
    from tests.receivers import Behaviour

pytestmark = pytest.mark.usefixtures("both_loops")

# What the receiver does to a request on a connection that it has answered on before.
CLOSES = {"closed": raw(), "reset": raw(reset=True)}


@pytest.mark.parametrize("closes", CLOSES.values(), ids=CLOSES)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_request_that_crosses_the_close_of_its_connection_is_sent_once_more(
    closes: Behaviour, tls: bool, tmp_path: Path
) -> None:
    async def run() -> None:
        async with Receiver(secret=SECRET, tls=context if tls else None, host="localhost") as receiver:
            to = sender(receiver.url, ca_file=ca_file)
            receiver.next_answers = [answer(), closes, answer(201), answer()]
            assert (await post(to)).status == 200
            outcome = await post(to)
            assert (outcome.status, outcome.error) == (201, None)
            _, lost, again = receiver.requests
            assert (lost.connection, again.connection) == (1, 2)
            assert (again.headers, again.body) == (lost.headers, lost.body)
            assert (await post(to)).ok
            assert (len(receiver.requests), receiver.connections) == (4, 2)
            await to.aclose()

    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    asyncio.run(run())


def test_it_is_sent_once_more_and_not_twice() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.next_answers = [answer(), raw()]
        receiver.then = raw()
        assert (await post(to)).ok
        assert (await post(to)).error is Failure.RESET
        assert [request.connection for request in receiver.requests] == [1, 1, 2]
        # A connection that has answered nothing was not idle: it is the receiver that fails.
        assert (await post(to)).error is Failure.RESET
        assert [request.connection for request in receiver.requests] == [1, 1, 2, 3]

    with_sender(test)


def test_it_is_sent_on_a_new_connection_and_not_on_another_idle_one() -> None:
    """Which may be closed, too: they have been idle for about as long."""

    async def test(receiver: Receiver, to: Sender) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(post(to))
        receiver.next_answers = [raw()]
        assert receiver.connections == 2
        assert (await post(to)).ok
        assert receiver.requests[-1].connection == 3

    with_sender(test, max_connections=2)


@pytest.mark.parametrize(
    "beginning",
    [b"H", b"HTTP/1.1 500", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\n"],
)
def test_nothing_is_sent_again_when_a_byte_of_an_answer_has_come(beginning: bytes) -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.next_answers = [answer(), raw(beginning)]
        assert (await post(to)).ok
        assert not (await post(to)).ok
        assert len(receiver.requests) == 2

    with_sender(test)


def test_a_receiver_that_does_not_answer_on_a_connection_of_before_is_not_asked_twice() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.next_answers = [answer(), hang()]
        assert (await post(to)).ok
        assert classify(await post(to)) == "no answer within 0.5 s"
        assert (len(receiver.requests), receiver.connections) == (2, 1)

    with_sender(test, total_timeout_s=SHORT_S)


def test_both_requests_have_the_time_of_one() -> None:
    total_timeout_s = 2.0

    async def closes_late(_request, _stream) -> bool:
        await asyncio.sleep(0.6 * total_timeout_s)
        return False

    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.next_answers = [answer(), closes_late, hang()]
        assert (await post(to)).ok
        outcome = await post(to)
        assert (outcome.error, len(receiver.requests)) == (Failure.TIMEOUT, 3)
        assert outcome.duration_s < 1.4 * total_timeout_s

    with_sender(test, total_timeout_s=total_timeout_s)


def test_the_new_connection_may_fail_and_then_that_is_what_happened() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        async def resolver(host, port):
            if receiver.requests:
                raise OSError("not now")
            return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)

        to = sender(receiver.url, resolver=resolver)
        receiver.next_answers = [answer(), raw()]
        assert (await post(to)).ok
        outcome = await post(to)
        assert (outcome.error, classify(outcome)) == (Failure.CONNECT, "127.0.0.1 cannot be resolved: not now")
        assert not to._places.locked()
        await to.aclose()

    with_sender(test)


def test_closing_a_sender_makes_no_new_connection() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.next_answers = [answer(), hang()]
        assert (await post(to)).ok
        attempt = asyncio.create_task(post(to))
        await receiver.until(lambda: len(receiver.requests) == 2)
        await to.aclose()
        assert (await attempt).error is Failure.RESET
        assert classify(await post(to)) == "the connection was closed"
        assert receiver.connections == 1

    with_sender(test)
