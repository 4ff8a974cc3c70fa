"""Addresses are vetted when the connection is made, names are looked up without holding up others, dead addresses cost
little."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from cdc_hooks.addresses import Rules
from cdc_hooks.deliver.faults import NoConnection
from cdc_hooks.deliver.outcome import Failure
from cdc_hooks.deliver.policy import classify
from cdc_hooks.deliver.resolve import MOST_ADDRESSES, Lookups, is_ours, vetted
from cdc_hooks.errors import ConfigError
from tests.acceptance.posting import LONG_S, SECRET, SHORT_S, black_hole, post, sender, with_sender
from tests.receivers import Receiver, answer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("both_loops")

NOTHING = Rules()
LOOPBACK = Rules.of(("127.0.0.0/8",), None)


def answers(*lists: list[str]):
    """A resolver that gives these answers, one list each time, and then the last one again."""
    left = list(lists)

    def look_up(_host, port):
        now = left.pop(0) if len(left) > 1 else left[0]
        found = []
        for address in now:
            found += socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return found

    return Lookups(look_up)


def attempts(rules: Rules, resolver, *, host: str = "receiver.example", count: int = 1, path: str = "/hook"):
    """Attempts, each over a connection of its own, at a receiver on 127.0.0.1 that is called ``host``."""

    async def run():
        async with Receiver(secret=SECRET, then=answer(200, b"", "connection: close")) as receiver:
            to = sender(f"http://{host}:{receiver.port}{path}", resolver=vetted(rules, resolver))
            try:
                return [await post(to) for _ in range(count)], receiver
            finally:
                await to.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (["127.0.0.1"], "127.0.0.1"),
        (["1.1.1.1", "127.0.0.1"], "127.0.0.1"),
        (["127.0.0.1", "1.1.1.1"], "127.0.0.1"),
        (["2606:4700::1111", "10.0.0.5"], "10.0.0.5"),
        (["::ffff:127.0.0.1"], "127.0.0.1"),
        (["64:ff9b::7f00:1"], "127.0.0.1"),
    ],
)
def test_a_forbidden_answer_among_others_is_enough(found: list[str], named: str) -> None:
    (outcome,), receiver = attempts(NOTHING, answers(found))
    assert outcome.error is Failure.FORBIDDEN
    words = classify(outcome)
    assert words.startswith("refused: receiver.example resolves to ")
    assert named in words
    assert "allow it in network.allow" in words
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_an_address_in_the_url_is_vetted_too(host: str) -> None:
    (outcome,), receiver = attempts(NOTHING, Lookups(), host=host)
    assert outcome.error is Failure.FORBIDDEN
    assert receiver.connections == 0


def test_what_is_allowed_is_connected_to_by_its_name() -> None:
    (outcome,), receiver = attempts(LOOPBACK, answers(["127.0.0.1"]))
    assert outcome.ok
    assert receiver.requests[0].header("host") == f"receiver.example:{receiver.port}"


def test_a_name_that_is_allowed_may_resolve_to_anything() -> None:
    (outcome,), _ = attempts(Rules.of(("receiver.example",), None), answers(["127.0.0.1"]))
    assert outcome.ok


def test_of_very_many_answers_the_first_ones_are_vetted_and_used() -> None:
    async def run(found: list[str]) -> list[str]:
        return [to[0] for *_, to in await vetted(NOTHING, answers(found))("receiver.example", 443)]

    public = [f"1.1.{number // 256}.{number % 256}" for number in range(4000)]
    assert asyncio.run(run([*public, "10.0.0.5"])) == public[:MOST_ADDRESSES]
    with pytest.raises(NoConnection, match=r"resolves to 10\.0\.0\.5"):
        asyncio.run(run([*public[: MOST_ADDRESSES - 1], "10.0.0.5", *public]))


def test_a_name_is_vetted_again_for_each_connection() -> None:
    """It led to where it may, and then does not any more: as with a rebinding, or a host that moves."""
    outcomes, receiver = attempts(LOOPBACK, answers(["127.0.0.1"], ["127.0.0.1"], ["10.0.0.5"]), count=3)
    assert [outcome.error for outcome in outcomes] == [None, None, Failure.FORBIDDEN]
    assert receiver.connections == 2


def test_it_is_connected_to_what_was_vetted() -> None:
    """Were the name looked up again for connecting, the second answer would be used."""
    (outcome,), receiver = attempts(LOOPBACK, answers(["127.0.0.1"], ["10.0.0.5"]))
    assert outcome.ok
    assert receiver.connections == 1


def test_a_kept_connection_is_not_looked_up_again() -> None:
    asked = []

    def look_up(host, port):
        asked.append(host)
        return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

    async def test(receiver: Receiver, _to) -> None:
        to = sender(f"http://receiver.example:{receiver.port}/", resolver=vetted(LOOPBACK, Lookups(look_up)))
        for _ in range(5):
            assert (await post(to)).ok
        await to.aclose()

    with_sender(test)
    assert asked == ["receiver.example"]


def test_our_own_listener_gets_nothing() -> None:
    async def test(receiver: Receiver, _to) -> None:
        for listen in (f"127.0.0.1:{receiver.port}", f":{receiver.port}"):
            rules = Rules.of(("127.0.0.0/8", "receiver.example"), listen)
            for host, resolver in (("127.0.0.1", Lookups()), ("receiver.example", answers(["127.0.0.1"]))):
                to = sender(f"http://{host}:{receiver.port}/metrics", resolver=vetted(rules, resolver))
                outcome = await post(to)
                await to.aclose()
                assert outcome.error is Failure.FORBIDDEN
                assert "where cdc-hooks itself listens (metrics.listen)" in classify(outcome)
        assert receiver.connections == 0

    with_sender(test)


def test_which_addresses_are_ours() -> None:
    from ipaddress import ip_address

    assert is_ours(ip_address("127.0.0.1"))
    assert is_ours(ip_address("127.1.2.3"))
    assert not is_ours(ip_address("192.0.2.1"))
    assert not is_ours(ip_address("2001:db8::1"))


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "0177.0.0.1", "127.0.0.1.", "[fe80::1%25eth0]"])
def test_an_address_in_an_unusual_spelling_is_not_looked_up(host: str) -> None:
    with pytest.raises(ConfigError):
        sender(f"http://{host}/")

    async def ask() -> None:
        await Lookups(lambda *_: pytest.fail("it was looked up"))(host.strip("[]"), 80)

    with pytest.raises(NoConnection) as refused:
        asyncio.run(ask())
    assert refused.value.failure is Failure.FORBIDDEN


class Stuck:
    """A resolver of the system that answers only when it is let go; counts who is in it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside = 0

    def __call__(self, _host, port):
        self.inside += 1
        self.go.wait(30)
        return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)


@contextmanager
def stuck() -> Iterator[Stuck]:
    system = Stuck()
    try:
        yield system
    finally:
        system.go.set()


def test_a_lookup_that_hangs_ends_with_the_connect_timeout_and_takes_one_thread() -> None:
    async def test(receiver: Receiver, _to) -> None:
        lookups = Lookups(system)
        url = f"http://receiver.example:{receiver.port}/"
        options = {"resolver": vetted(LOOPBACK, lookups), "max_connections": 50}
        hasty = sender(url, connect_timeout_s=SHORT_S, **options)
        patient = sender(url, **options)
        for _ in range(3):
            outcomes = await asyncio.gather(*(post(hasty) for _ in range(50)))
            assert {outcome.error for outcome in outcomes} == {Failure.TIMEOUT}
            assert {classify(outcome) for outcome in outcomes} == {"receiver.example was not resolved within 0.5 s"}
        assert system.inside == 1
        # Nobody else waits for it: neither other webhooks nor what uses the threads of the loop.
        other = sender(f"http://other.example:{receiver.port}/", resolver=vetted(LOOPBACK, answers(["127.0.0.1"])))
        assert (await post(other)).ok
        await asyncio.to_thread(lambda: None)
        waiting = asyncio.create_task(post(patient))
        await asyncio.sleep(0)
        system.go.set()
        assert (await waiting).ok  # the answer is for all who still want it
        for to in (hasty, patient, other):
            await to.aclose()

    with stuck() as system:
        with_sender(test)


def test_a_lookup_that_hangs_does_not_keep_the_process() -> None:
    """Returns although the thread is still in it: asyncio waits for those of its own."""

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await Lookups(system)("receiver.example", 80)

    with stuck() as system:
        asyncio.run(ask())
        assert [thread.daemon for thread in threading.enumerate() if thread.name == "lookup receiver.example"] == [True]


def test_an_error_of_a_lookup_that_nobody_waits_for_is_forgotten() -> None:
    done = threading.Event()

    def fails(_host, _port):
        done.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def ask() -> None:
        lookups = Lookups(fails)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S):
                await lookups("receiver.example", 80)
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        done.set()
        while lookups._running:
            await asyncio.sleep(0.001)
        with pytest.raises(socket.gaierror):
            await lookups("receiver.example", 80)
        assert not complaints

    asyncio.run(ask())


def test_a_lookup_for_which_there_is_no_thread_is_made_the_next_time() -> None:
    async def ask() -> None:
        lookups = Lookups(lambda _host, port: socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM))
        usual = threading.stack_size(2**47)  # as much as there are addresses: the system makes no such thread
        try:
            with pytest.raises(OSError, match="thread"):
                await lookups("receiver.example", 80)
        finally:
            threading.stack_size(usual)
        async with asyncio.timeout(LONG_S):
            assert await lookups("receiver.example", 80)

    asyncio.run(ask())


@pytest.mark.parametrize("dead", ["::1", "127.0.0.2"])
def test_an_address_that_is_a_black_hole_costs_a_step(dead: str) -> None:
    """Without the step it would cost the whole time that there is to connect, or that the system takes to give up."""

    async def test(receiver: Receiver, _to) -> None:
        def look_up(_host, _port):
            return [
                *socket.getaddrinfo(dead, hole, type=socket.SOCK_STREAM),
                *socket.getaddrinfo("127.0.0.1", receiver.port, type=socket.SOCK_STREAM),
            ]

        rules = Rules.of(("receiver.example",), None)
        to = sender("http://receiver.example/", resolver=vetted(rules, Lookups(look_up)), connect_timeout_s=10)
        outcome = await post(to)
        await to.aclose()
        assert outcome.ok
        assert outcome.duration_s >= 0.2  # it was tried: the hole is one

    with black_hole(dead) as hole:
        with_sender(test)


def test_a_black_hole_alone_ends_with_the_connect_timeout() -> None:
    async def run() -> None:
        to = sender(f"http://127.0.0.2:{hole}/", resolver=vetted(LOOPBACK, Lookups()), connect_timeout_s=SHORT_S)
        outcome = await post(to)
        await to.aclose()
        assert (outcome.error, outcome.detail) == (Failure.TIMEOUT, "no connection within 0.5 s")

    with black_hole("127.0.0.2") as hole:
        asyncio.run(run())
