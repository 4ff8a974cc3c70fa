"""A real HTTP receiver on a loopback port, which verifies what it gets and misbehaves when told to.

In an event loop: ``async with Receiver(secret=SECRET) as receiver``. For tests that run the daemon as a process, with
the receiver in a thread of its own: ``with receiver_in_thread(secret=SECRET) as receiver``.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    verified: bool
    connection: int
    """Which of the receiver's connections it came on, from 1."""

    def header(self, name: str) -> str | None:
        """The only header of this name; two of them are an error of the sender."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Stream = asyncio.StreamWriter
Behaviour = Callable[[Received, Stream], Awaitable[bool]]
"""Answers a request; returns whether the connection may be used again."""


def answer(status: int = 200, body: bytes = b"", *headers: str) -> Behaviour:
    head = "\r\n".join([f"HTTP/1.1 {status} Status", f"content-length: {len(body)}", *headers, "", ""]).encode()

    async def behave(_request: Received, stream: Stream) -> bool:
        stream.write(head + body)
        await stream.drain()
        return True

    return behave


def redirect(location: str, status: int = 302) -> Behaviour:
    return answer(status, b"", f"location: {location}")


def raw(*pieces: bytes, reset: bool = False) -> Behaviour:
    """Exactly these bytes, then the end of the connection, orderly or by a reset."""

    async def behave(_request: Received, stream: Stream) -> bool:
        for piece in pieces:
            stream.write(piece)
            await stream.drain()
        if reset:
            # A linger time of zero makes the close a reset.
            linger = struct.pack("ii", 1, 0)
            stream.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return False

    return behave


def hang(beginning: bytes = b"") -> Behaviour:
    """Send this much and then nothing, until the sender or the receiver goes away."""

    async def behave(_request: Received, stream: Stream) -> bool:
        stream.write(beginning)
        await asyncio.Event().wait()
        return False

    return behave


def endless(head: bytes) -> Behaviour:
    """A head, and then body for as long as somebody reads it."""

    async def behave(_request: Received, stream: Stream) -> bool:
        stream.write(head)
        while True:
            stream.write(b"x" * 8192)
            await stream.drain()

    return behave


@dataclass
class Receiver:
    """Answers with ``next_answers``, one each, and then always with ``then``.

    With a ``secret``, a request whose signature is wrong is answered 401, and kept in ``rejected``, not ``requests``.
    """

    secret: str | None = None
    tls: ssl.SSLContext | None = None
    then: Behaviour = field(default_factory=answer)
    next_answers: list[Behaviour] = field(default_factory=list)
    host: str = "127.0.0.1"
    requests: list[Received] = field(default_factory=list)
    rejected: list[Received] = field(default_factory=list)
    connections: int = 0
    """How many there have been."""

    def __post_init__(self) -> None:
        self._news = threading.Condition()
        self._open: dict[int, asyncio.Task[None]] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}/hook"

    @property
    def open_connections(self) -> int:
        return len(self._open)

    @property
    def bodies(self) -> list[Any]:
        """The JSON bodies of the verified requests, in the order in which they came."""
        return [request.json for request in list(self.requests)]

    async def __aenter__(self) -> Self:
        # The port of an earlier start is taken again: a receiver that was down comes back at its place.
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._connected), "127.0.0.1", self.port, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        connections = list(self._open.values())
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        """Return as soon as it holds; it is looked at after each request and each closed connection."""
        await asyncio.get_running_loop().run_in_executor(None, self.wait, condition, timeout_s)

    def wait(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        """As ``until``, for a test that runs in another thread than the receiver."""
        with self._news:
            assert self._news.wait_for(condition, timeout_s), (
                f"not within {timeout_s} s; got {len(self.requests)} requests"
            )

    async def _connected(self, reader: asyncio.StreamReader, stream: Stream) -> None:
        self.connections += 1
        number = self.connections
        task = asyncio.current_task()
        assert task is not None
        self._open[number] = task
        lost = stream.transport.get_protocol().lost
        try:
            while request := await self._read(reader, number):
                if not await _unless(lost, self._answer(request, stream)):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            stream.close()
            with suppress(OSError, asyncio.CancelledError):
                await stream.wait_closed()
            with self._news:
                del self._open[number]
                self._news.notify_all()

    async def _answer(self, request: Received, stream: Stream) -> bool:
        if self.secret is not None and not request.verified:
            self._note(self.rejected, request)
            return await answer(401)(request, stream)
        behaviour = self.next_answers.pop(0) if self.next_answers else self.then
        self._note(self.requests, request)
        return await behaviour(request, stream)

    def _note(self, kept: list[Received], request: Received) -> None:
        with self._news:
            kept.append(request)
            self._news.notify_all()

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Received | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        length = next(int(value) for name, value in headers if name.lower() == "content-length")
        body = await reader.readexactly(length)
        return Received(method, target, headers, body, self._verifies(headers, body), connection)

    def _verifies(self, headers: tuple[tuple[str, str], ...], body: bytes) -> bool:
        if self.secret is None:
            return False
        key = self.secret if self.secret.startswith("whsec_") else self.secret.encode()
        try:
            Webhook(key).verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, UnicodeDecodeError):
            return False
        return True


class _Connection(asyncio.StreamReaderProtocol):
    """Streams that say when the sender has gone away, also while nobody reads."""

    def __init__(self, connected: Callable[[asyncio.StreamReader, Stream], Awaitable[None]]) -> None:
        self.lost = asyncio.Event()
        super().__init__(asyncio.StreamReader(), connected)

    def eof_received(self) -> bool:
        super().eof_received()
        return False  # close our end, too

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.set()


async def _unless(event: asyncio.Event, behaving: Awaitable[bool]) -> bool:
    """Its result, or False as soon as the event happens."""
    working, stopped = asyncio.ensure_future(behaving), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return working.done() and working.result()
    finally:
        working.cancel()
        stopped.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


@contextmanager
def receiver_in_thread(**options: Any) -> Iterator[Receiver]:
    """A running receiver for tests that are not in an event loop; see ``Receiver`` for the options."""
    ready, done = threading.Event(), threading.Event()
    receiver = Receiver(**options)

    async def serve() -> None:
        async with receiver:
            ready.set()
            await asyncio.get_running_loop().run_in_executor(None, done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="receiver")
    thread.start()
    try:
        assert ready.wait(10), "the receiver did not start"
        yield receiver
    finally:
        done.set()
        thread.join()
