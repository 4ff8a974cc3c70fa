"""Receivers that misbehave in every way that we know of, over real sockets, until they are healed.

A fault is a conversation: what one connection gets to hear. It may read the request, or not. ``FAULTS`` says of each
what must become of the attempt, of its delivery, and of the webhook, as long as it lasts.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Conversation = Callable[[Reader, Writer], Awaitable[None]]

_ESTABLISHED = 1  # TCP_ESTABLISHED of Linux
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BOMB = gzip.compress(gzip.compress(bytes(200 * 1024 * 1024)))


async def request(reader: Reader) -> tuple[bytes, bytes]:
    """Read a request: its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    return head, await reader.readexactly(int(length))


def says(*pieces: bytes, then: Conversation | None = None) -> Conversation:
    """Read the request, say this, and then hang up, or go on."""

    async def talk(reader: Reader, writer: Writer) -> None:
        await request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then is not None:
            await then(reader, writer)

    return talk


def answers(status: int, body: bytes = b"", *headers: str) -> Conversation:
    """An orderly answer to each request."""
    head = "\r\n".join([f"HTTP/1.1 {status} Status", f"content-length: {len(body)}", *headers, "", ""]).encode()

    async def talk(reader: Reader, writer: Writer) -> None:
        while True:
            await request(reader)
            writer.write(head + body)
            await writer.drain()

    return talk


def redirects(status: int, location: str) -> Conversation:
    return answers(status, b"", f"location: {location}")


async def stays_silent(_reader: Reader, writer: Writer) -> None:
    """Until the other side goes away, which is seen without reading."""
    sock = writer.get_extra_info("socket")
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED:
        await asyncio.sleep(0.05)


async def resets(_reader: Reader, writer: Writer) -> None:
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def for_ever(piece: bytes, every_s: float = 0.0) -> Conversation:
    async def talk(_reader: Reader, writer: Writer) -> None:
        while True:
            writer.write(piece)
            await writer.drain()
            if every_s:
                await asyncio.sleep(every_s)

    return talk


async def answers_413_early(reader: Reader, writer: Writer) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    await asyncio.sleep(0.2)


async def closes_when_it_is_used_again(reader: Reader, writer: Writer) -> None:
    """An orderly answer, and then, just as the next request comes on the same connection, its end."""
    await request(reader)
    writer.write(_OK)
    await writer.drain()
    await request(reader)


async def reads_head_only(reader: Reader, writer: Writer) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()
    await stays_silent(reader, writer)


async def takes_it_and_times_out(reader: Reader, writer: Writer) -> None:
    await request(reader)
    await stays_silent(reader, writer)


@dataclass(frozen=True)
class Fault:
    """``said``: a part of the attempt's error in the log, or None where the attempt is a success.

    ``delivery``: the state of the first delivery in the ledger. ``webhook``: its state in the metrics. ``large``: it
    shows only with bodies of many megabytes.
    """

    talk: Conversation
    said: str | None
    delivery: str
    webhook: str
    large: bool = False


def harmless(talk: Conversation) -> Fault:
    """The receiver has it, whatever comes after it said so."""
    return Fault(talk, None, "delivered", "active")


def sick(talk: Conversation, said: str) -> Fault:
    """It would go wrong with any batch: the whole webhook is held back, and this one sent again and again."""
    return Fault(talk, said, "pending", "open")


def unclear(talk: Conversation, said: str) -> Fault:
    """The batch may be to blame, and there is no other yet to tell by: this one alone is sent again and again."""
    return Fault(talk, said, "pending", "retrying")


def _headers(status: int, *lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 %d Status" % status, *lines, b"", b""])


_CHUNKED = b"transfer-encoding: chunked"
_TIMEOUT, _CLOSED, _RESET = "no answer within 3 s", "the connection was closed", "connection reset by peer"
_NO_HTTP = "not an HTTP answer"
_GIGABYTE = b"content-length: 1000000000"
_NO_TEXT = b"HTTP/1.1 503 N\xff\r\nx: \xff\xfe\x80\r\ncontent-length: 4\r\n\r\n\0\xff\0\xfe"
_DRIP = for_ever(b"y", 0.1)
_FLOOD = for_ever(b"x" * 65536)

FAULTS: dict[str, Fault] = {
    "accepts-and-never-answers": sick(stays_silent, _TIMEOUT),
    "takes-it-and-times-out": sick(takes_it_and_times_out, _TIMEOUT),
    "drips-headers": sick(says(b"HTTP/1.1 200 OK\r\nx: ", then=_DRIP), _TIMEOUT),
    "drips-its-body": harmless(says(_headers(200, b"content-length: 1000"), then=_DRIP)),
    "drips-the-body-of-a-failure": sick(says(_headers(503, b"content-length: 1000"), then=_DRIP), "503"),
    "success-with-an-endless-body": harmless(says(_headers(200), then=_FLOOD)),
    "failure-with-a-huge-body": sick(says(_headers(503, _GIGABYTE), then=_FLOOD), "503"),
    "gzip-bomb": harmless(answers(200, BOMB, "content-encoding: gzip, gzip")),
    "gzip-bomb-of-a-failure": sick(answers(503, BOMB, "content-encoding: gzip, gzip"), "503"),
    "reset-before-headers": sick(says(then=resets), _RESET),
    "reset-in-the-headers": sick(says(b"HTTP/1.1 200 OK\r\nx: ", then=resets), _RESET),
    "reset-after-the-headers": harmless(says(_headers(200, b"content-length: 10"), then=resets)),
    "closed-without-an-answer": sick(says(), _CLOSED),
    "closed-when-used-again": harmless(closes_when_it_is_used_again),
    "half-a-status-line": sick(says(b"HTTP/1.1 20"), _CLOSED),
    "no-http": sick(says(b"220 smtp.example ESMTP\r\n"), _NO_HTTP),
    "garbage-chunks": sick(says(_headers(503, _CHUNKED), b"zz\r\nhello\r\n"), "503"),
    "garbage-chunks-of-a-success": harmless(says(_headers(200, _CHUNKED), b"5\r\nhello\r\nzz\r\n")),
    "length-and-chunks": sick(says(_headers(200, _CHUNKED, b"content-length: 2") + b"ok"), _NO_HTTP),
    "extra-bytes": harmless(says(_OK + b"HTTP/1.1 500 Boo\r\ncontent-length: 0\r\n\r\n")),
    "endless-1xx": sick(says(then=for_ever(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 100)), _NO_HTTP),
    "101": sick(says(_headers(101, b"upgrade: websocket", b"connection: upgrade")), "answered 101"),
    "early-413": Fault(answers_413_early, "answered 413", "rejected", "open", large=True),
    "never-reads-the-body": Fault(reads_head_only, _TIMEOUT, "pending", "open", large=True),
    "endless-headers": sick(says(b"HTTP/1.1 503 No\r\n", then=for_ever(b"x: %b\r\n" % (b"y" * 4096))), _NO_HTTP),
    "one-endless-header": sick(says(b"HTTP/1.1 503 No\r\nx: ", then=for_ever(b"y" * 65536)), _NO_HTTP),
    "nul-and-no-utf8": sick(says(_NO_TEXT), "503"),
    "nul-in-a-header": sick(says(b"HTTP/1.1 503 No\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n"), ""),
    **{f"redirect-{n}": sick(redirects(n, "http://127.0.0.1:1/x"), "redirected to http://127.0.0.1:1/x")
       for n in (301, 302, 303, 307, 308)},
    "redirect-to-itself": sick(redirects(307, "/hook"), "redirected to /hook"),
    "redirect-to-metadata": sick(redirects(302, "http://169.254.169.254/latest"), "redirected to http://169.254.169.254/"),
    "not-modified": sick(answers(304), "answered 304"),
    "multiple-choices": sick(answers(300), "answered 300"),
    "204": harmless(answers(204)),
    "206": harmless(answers(206)),
    "299": harmless(answers(299)),
    "199": sick(says(_headers(199), then=stays_silent), _TIMEOUT),
    "600": unclear(answers(600), "answered 600"),
    "401": sick(answers(401), "answered 401"),
    "404": unclear(answers(404), "answered 404"),
    "429": sick(answers(429, b"", "retry-after: 1"), "answered 429"),
    "500": unclear(answers(500), "answered 500"),
    "502": sick(answers(502), "answered 502"),
    "retry-after-nonsense": sick(answers(503, b"", "retry-after: soon"), "answered 503"),
}  # fmt: skip


class Patient:
    """A receiver with a fault. Healed, it answers 200 and keeps what came."""

    host = "127.0.0.1"
    """Where it listens."""
    answer = _OK

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.healed = False
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.bodies: dict[str, bytes] = {}
        self.contradictions: list[str] = []
        self.port = 0
        self._talking: dict[asyncio.Task[None], bool] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def items(self) -> list[dict[str, Any]]:
        """All that came since it was healed."""
        return [item for body in list(self.bodies.values()) for item in json.loads(body)["items"]]

    @property
    def events(self) -> set[str]:
        """Ids of the events that came since it was healed."""
        return {item["eventId"] for item in self.items}

    async def connected(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        task = asyncio.current_task()
        assert task is not None
        self._talking[task] = self.healed
        try:
            await (self._receive(reader, writer) if self.healed else self.fault.talk(reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            del self._talking[task]
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    def heal(self) -> None:
        """To be called in its event loop."""
        self.healed = True
        for task, well in list(self._talking.items()):
            if not well:
                task.cancel()

    async def _receive(self, reader: Reader, writer: Writer) -> None:
        while True:
            head, body = await request(reader)
            identity = next(line for line in head.decode("latin-1").split("\r\n") if line.startswith("webhook-id"))
            if self.bodies.setdefault(identity, body) != body:
                self.contradictions.append(identity)
            writer.write(self.answer)
            await writer.drain()


@contextmanager
def hospital(admitted: Mapping[str, Any] | None = None) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
    """Patients in a thread of their own, by the names of their faults, and what heals them. Without any: all faults."""
    patients = dict(admitted or {name: Patient(fault) for name, fault in FAULTS.items()})
    ready, done = threading.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        servers = []
        for patient in patients.values():
            servers.append(await asyncio.start_server(patient.connected, patient.host, patient.port, limit=2**20))
            patient.port = servers[-1].sockets[0].getsockname()[1]
        ready.set()
        await asyncio.get_running_loop().run_in_executor(None, done.wait)
        for server in servers:
            server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def heal() -> None:
        for patient in patients.values():
            loops[0].call_soon_threadsafe(patient.heal)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="hospital")
    thread.start()
    try:
        assert ready.wait(10)
        yield patients, heal
    finally:
        done.set()
        thread.join()
