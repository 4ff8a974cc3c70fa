"""Posting to a receiver of ours: help for the tests of the sender."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from cdc_hooks.config.credentials import signing_key
from cdc_hooks.deliver.outcome import Outcome
from cdc_hooks.deliver.post import Sender
from cdc_hooks.deliver.sign import sign
from cdc_hooks.model import Action, Message
from tests.receivers import Behaviour, Receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LONG_S = 30.0  # a timeout that no test here may come near
SHORT_S = 0.5  # one that tests wait for; what must succeed within it has time on a busy machine, too
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def message(body: bytes = b'{"id":"msg_1","items":[]}') -> Message:
    return Message("msg_1", body, "orders", Action.UPDATE, 1, "1-1", "1-1", b"2026-11-21T10:00:00.123456Z")


def sender(url: str, **options) -> Sender:
    return Sender(url, **{"connect_timeout_s": LONG_S, "total_timeout_s": LONG_S, **options})


async def post(to: Sender, body: bytes = message().body) -> Outcome:
    return await to.post(message(body), sign([signing_key(SECRET)], "msg_1", int(time.time()), body))


def attempt(behaviour: Behaviour, *, body: bytes = message().body, **options) -> tuple[Outcome, Receiver]:
    """One attempt at a receiver that behaves so, and the receiver after it."""

    async def run() -> tuple[Outcome, Receiver]:
        async with Receiver(secret=SECRET, then=behaviour) as receiver:
            to = sender(receiver.url, **options)
            try:
                return await post(to, body), receiver
            finally:
                await to.aclose()

    return asyncio.run(run())


def with_sender(test: Callable[[Receiver, Sender], Awaitable[None]], **options) -> None:
    async def run() -> None:
        async with Receiver(secret=SECRET) as receiver:
            to = sender(receiver.url, **options)
            try:
                await test(receiver, to)
            finally:
                await to.aclose()
            await receiver.until(lambda: receiver.open_connections == 0)

    asyncio.run(run())


def kept_open(answer: bytes) -> Behaviour:
    """Exactly this, and then the receiver waits for the next request, whatever it said."""

    async def behave(_request, stream) -> bool:
        stream.write(answer)
        await stream.drain()
        return True

    return behave


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk, **options) -> AsyncIterator[Sender]:
    """A sender to one who listens and does as he likes."""
    async with listening_at(talk) as port:
        to = sender(f"http://127.0.0.1:{port}/", **options)
        try:
            yield to
        finally:
            await to.aclose()


@asynccontextmanager
async def listening_at(talk: Talk) -> AsyncIterator[int]:
    """The port of one who listens and does as he likes."""
    connections: dict[asyncio.Task, asyncio.Task] = {}

    async def connected(reader, stream) -> None:
        talking = asyncio.create_task(talk(reader, stream))
        connections[asyncio.current_task()] = talking
        await asyncio.wait([talking])
        error = None if talking.cancelled() else talking.exception()
        if error is not None and not isinstance(error, (OSError, asyncio.IncompleteReadError)):
            # So uvloop says that the other side has gone away meanwhile.
            assert "the handler is closed" in str(error), error
        stream.close()
        with suppress(OSError):
            await stream.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            for talking in connections.values():
                talking.cancel()
            await asyncio.gather(*connections)


async def all_lost(to: Sender) -> None:
    while to._pool._open:
        await asyncio.wait([connection.lost for connection in to._pool._open])


# Which connections are used again.


@contextmanager
def black_hole(host: str, port: int = 0) -> Iterator[int]:
    """A port that lets no connection come about: its queue is full, and the system drops what comes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, port))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        try:
            for _ in range(8):
                filler = socket.socket(family)
                fillers.append(filler)
                filler.settimeout(0.2)
                try:
                    filler.connect((host, port))
                except TimeoutError:
                    break
            else:
                pytest.fail("the queue takes all")
            yield port
        finally:
            for filler in fillers:
                filler.close()
