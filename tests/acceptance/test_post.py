"""One attempt against a real receiver that behaves in every way that receivers do."""

from __future__ import annotations

import asyncio
import gzip
import time
from typing import TYPE_CHECKING

import pytest

from cdc_hooks import __version__
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.post import Sender
from cdc_hooks.deliver.sign import sign
from tests.acceptance.harness import own_port
from tests.acceptance.posting import SHORT_S, attempt, message, post, sender, with_sender
from tests.receivers import Receiver, answer, endless, hang, raw, receiver_in_thread, redirect

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.usefixtures("both_loops")


def test_success() -> None:
    outcome, receiver = attempt(answer(200, b'{"ok":true}', "x-request-id: 7"))
    assert outcome.ok
    assert (outcome.status, outcome.error, outcome.body) == (200, None, b'{"ok":true}')
    assert ("x-request-id", "7") in outcome.headers
    assert outcome.duration_s == round(outcome.duration_s, 6) > 0
    assert classify(outcome) == "answered 200"
    (request,) = receiver.requests
    assert request.verified
    assert (request.method, request.target, request.body) == ("POST", "/hook", message().body)
    assert request.header("content-type") == "application/json"
    assert request.header("user-agent") == f"cdc-hooks/{__version__}"
    assert request.header("accept-encoding") == "identity"
    assert request.header("content-length") == str(len(message().body))


def test_no_content() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = raw(b"HTTP/1.1 204 No Content\r\n\r\n")
        outcome = await post(to)
        assert (outcome.status, outcome.body) == (204, b"")

    with_sender(test)


def test_a_wrong_signature_is_seen_by_the_receiver() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        headers = sign([b"another key"], "msg_1", int(time.time()), message().body)
        assert (await to.post(message(), headers)).status == 401
        assert (len(receiver.requests), len(receiver.rejected)) == (0, 1)

    with_sender(test)


def test_configured_headers_are_sent_and_cannot_replace_ours() -> None:
    headers = {"X-Source": "shop", "Authorization": "Bearer t", "Content-Type": "text/plain", "Webhook-Id": "mine"}
    _, receiver = attempt(answer(), headers=headers)
    (request,) = receiver.requests
    assert request.header("x-source") == "shop"
    assert request.header("authorization") == "Bearer t"
    assert request.header("content-type") == "application/json"
    assert request.header("webhook-id") == "msg_1"


def test_the_url_is_sent_as_it_is_configured() -> None:
    async def test(receiver: Receiver, _: Sender) -> None:
        to = sender(f"{receiver.url}/a%2Fb?sig=a%2Bb%3D&x=1")
        await post(to)
        await to.aclose()
        assert receiver.requests[0].target == "/hook/a%2Fb?sig=a%2Bb%3D&x=1"

    with_sender(test)


def test_a_large_body_arrives_whole() -> None:
    body = b'{"x":"%b"}' % (b"y" * 3_000_000)
    outcome, receiver = attempt(answer(), body=body)
    assert outcome.ok
    assert receiver.requests[0].body == body
    assert receiver.requests[0].header("content-length") == str(len(body))


def test_of_a_huge_body_little_is_kept() -> None:
    outcome, _ = attempt(endless(b"HTTP/1.1 500 Broken\r\ncontent-length: 100000000000\r\n\r\n"))
    assert (outcome.status, outcome.error, len(outcome.body)) == (500, None, 16 * 1024)
    assert classify(outcome) == "answered 500"


def test_after_a_huge_body_the_connection_is_closed_by_itself() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = endless(b"HTTP/1.1 500 Broken\r\ncontent-length: 100000000000\r\n\r\n")
        await post(to)
        await receiver.until(lambda: receiver.open_connections == 0)

    with_sender(test)


@pytest.mark.parametrize("length", [b"content-length: 500\r\n", b"transfer-encoding: chunked\r\n", b""])
def test_headers_decide_a_success_whatever_the_body_does(length: bytes) -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = hang(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n5\r\nbegin\r\n")
        outcome = await post(to)  # the receiver would hang longer than the test's own time limit
        assert outcome.ok
        assert b"begin" in outcome.body

    with_sender(test)


def test_a_success_whose_body_breaks_off_is_a_success() -> None:
    outcome, _ = attempt(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nbegin", reset=True))
    assert outcome.ok


def test_dripping_bodies_do_not_pile_up_connections() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = hang(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nbegin")
        for _ in range(6):
            assert (await post(to)).ok
            assert len(to._drains) <= 2
        await receiver.until(lambda: receiver.open_connections <= 2)

    with_sender(test, max_connections=2)


def test_no_answer() -> None:
    outcome, _ = attempt(hang(), total_timeout_s=SHORT_S)
    assert (outcome.status, outcome.error) == (None, Failure.TIMEOUT)
    assert classify(outcome) == "no answer within 0.5 s"


def test_headers_that_drip_do_not_stretch_the_deadline() -> None:
    async def drip(_request, stream) -> bool:
        stream.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            stream.write(b"x-drip: 1\r\n")
            await stream.drain()
            await asyncio.sleep(SHORT_S / 10)

    outcome, _ = attempt(drip, total_timeout_s=SHORT_S)
    assert classify(outcome) == "no answer within 0.5 s"


def test_a_failure_whose_body_hangs_keeps_to_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_hooks.deliver.post._DRAINED_S", 1000)
    outcome, _ = attempt(hang(b"HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nsorry"), total_timeout_s=SHORT_S)
    assert (outcome.status, outcome.error, outcome.body) == (503, None, b"sorry")


def test_no_connection() -> None:
    async def stuck(_host, _port):
        await asyncio.Event().wait()

    async def run() -> Outcome:
        to = sender("http://receiver.example/", connect_timeout_s=SHORT_S, resolver=stuck)
        try:
            return await post(to)
        finally:
            await to.aclose()

    outcome = asyncio.run(run())
    assert outcome.error is Failure.TIMEOUT
    assert classify(outcome) == "receiver.example was not resolved within 0.5 s"


def test_connection_refused() -> None:
    async def run() -> Outcome:
        to = sender(f"http://127.0.0.1:{own_port()}/")
        try:
            return await post(to)
        finally:
            await to.aclose()

    outcome = asyncio.run(run())
    assert outcome.error is Failure.CONNECT
    assert classify(outcome) == "connection refused"


def test_a_name_that_the_resolver_refuses() -> None:
    async def nobody(host, _port):
        raise OSError(f"{host} is a private address")

    async def run() -> Outcome:
        to = sender("http://intranet.example/", resolver=nobody)
        try:
            return await post(to)
        finally:
            await to.aclose()

    outcome = asyncio.run(run())
    assert outcome.error is Failure.CONNECT
    assert classify(outcome) == "intranet.example cannot be resolved: intranet.example is a private address"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with receiver_in_thread() as elsewhere:
        outcome, receiver = attempt(redirect(elsewhere.url, status))
    assert (outcome.status, outcome.error, outcome.location) == (status, Failure.REDIRECT, elsewhere.url)
    assert classify(outcome) == f"redirected to {elsewhere.url} (redirects are not followed)"
    assert (len(receiver.requests), len(elsewhere.requests)) == (1, 0)


def test_a_redirect_to_nowhere_is_an_answer() -> None:
    outcome, _ = attempt(answer(304))
    assert classify(outcome) == "answered 304"


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\ncontent-le"])
def test_reset_before_the_headers_end(beginning: bytes) -> None:
    outcome, _ = attempt(raw(beginning, reset=True))
    assert (outcome.status, outcome.error) == (None, Failure.RESET)
    assert classify(outcome) == "connection reset by peer"


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\ncontent-le"])
def test_closed_before_the_headers_end(beginning: bytes) -> None:
    outcome, _ = attempt(raw(beginning))
    assert (outcome.status, outcome.error) == (None, Failure.RESET)
    assert classify(outcome) == "the connection was closed before an answer came"


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
    ],
    ids=["another protocol", "no status", "TLS alert", "long header", "many headers"],
)
def test_what_is_not_http(garbage: bytes) -> None:
    outcome, _ = attempt(raw(garbage))
    assert (outcome.status, outcome.error) == (None, Failure.PROTOCOL)
    said = classify(outcome)
    assert said.startswith("not an HTTP answer: ")
    assert said.isprintable()
    assert len(said) < 600


def test_doubled_and_odd_headers_are_no_failure() -> None:
    outcome, _ = attempt(
        raw(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: 1\r\nX-A: 2\r\nx-odd: \xff\xc3\xa4\r\n"
            b"retry-after: 1\r\nretry-after: 2\r\n\r\nok"
        )
    )
    assert outcome.ok
    assert [value for name, value in outcome.headers if name == "x-a"] == ["1", "2"]
    assert all(value.isprintable() for _, value in outcome.headers)


def test_cookies_are_not_kept() -> None:
    async def test(receiver: Receiver, _: Sender) -> None:
        receiver.then = answer(200, b"", "set-cookie: a=b")
        to = sender(receiver.url.replace("127.0.0.1", "localhost"))  # cookies of addresses are kept by no client
        await post(to)
        await post(to)
        await to.aclose()
        assert receiver.requests[1].header("cookie") is None

    with_sender(test)


def test_retry_after_is_handed_on() -> None:
    outcome, _ = attempt(answer(503, b"later", "retry-after: 17"))
    assert (outcome.status, outcome.retry_after, outcome.body) == (503, "17", b"later")


def test_a_compressed_body_stays_compressed() -> None:
    bomb = gzip.compress(b"0" * 10_000_000)
    outcome, _ = attempt(answer(500, bomb, "content-encoding: gzip"))
    assert outcome.body == bomb[: 16 * 1024]


def test_an_informational_answer_is_not_the_answer() -> None:
    outcome, _ = attempt(raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"))
    assert outcome.status == 201


@pytest.mark.parametrize("status", [200, 500])
def test_connections_are_used_again(status: int) -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = answer(status, b"x" * 30_000)
        for _ in range(5):
            await post(to)
        await asyncio.gather(*(post(to) for _ in range(3)))
        assert len(receiver.requests) == 8
        assert receiver.connections <= 3

    with_sender(test, max_connections=3)


def test_a_long_body_costs_the_connection() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = answer(500, b"x" * 1_000_000)
        for number in (1, 2):
            await post(to)
            await asyncio.gather(*to._drains)
            assert receiver.connections == number

    with_sender(test)


def test_a_body_in_a_later_packet_does_not_cost_the_connection() -> None:
    async def behind(_request, stream) -> bool:
        stream.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
        await stream.drain()
        stream.write(b"ok")
        await stream.drain()
        return True

    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = behind
        for _ in range(5):
            assert (await post(to)).ok
        assert receiver.connections <= 2

    with_sender(test)


def test_cancelling_closes_the_connection() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        for beginning in (b"", b"HTTP/1.1 500 Broken\r\ncontent-length: 5\r\n\r\n"):
            receiver.then = hang(beginning)
            receiver.requests.clear()
            attempt = asyncio.create_task(post(to))
            await receiver.until(lambda: len(receiver.requests) == 1)
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await receiver.until(lambda: receiver.open_connections == 0)

    with_sender(test)


def test_a_closed_sender_can_be_closed_again() -> None:
    async def test(receiver: Receiver, to: Sender) -> None:
        receiver.then = hang(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        assert (await post(to)).ok
        await to.aclose()
        await receiver.until(lambda: receiver.open_connections == 0)

    with_sender(test)


def test_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{own_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{own_port()}")
    assert attempt(answer())[0].ok
