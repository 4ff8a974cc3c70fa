"""HTTP/1.1 as far as a webhook needs it: one POST at a time on a connection, and connections that wait for the next.

No pipelining, no redirects, no retries, no upgrades. What comes is read by llhttp, from the package httptools.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from httptools import HttpResponseParser

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Common servers (Node.js, uvicorn, Apache) close a connection that was idle for 5 s. A request that crosses such a
# close cannot be told from one that was processed, and has to be sent again, so we are the first to close.
_IDLE_S = 4.0
_MAX_FIELDS = 64
_MAX_FIELD_BYTES = 8190
_MAX_HEAD_BYTES = 64 * 1024
_KEPT_BYTES = 16 * 1024
_FORGOTTEN_BYTES = 64 * 1024
# Larger bodies are written in pieces, each when most of the one before is on its way. They are not copied as a whole
# (nor encrypted at one go), and an answer that comes before their end is known for what it is.
_PIECE_BYTES = 128 * 1024
# An answer other than 2xx to a body larger than this may have come before all of it was sent, and TLS hides that.
_SURELY_SENT_BYTES = 16 * 1024
_RESET = struct.pack("ii", 1, 0)
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_NO_ANSWER = "the connection was closed before an answer came"


class BadAnswer(Exception):
    """What came is not an answer that we understand; the message says why."""


@dataclass(slots=True)
class Answer:
    """What has come of an answer so far."""

    status: int | None = None
    """None until the headers are complete."""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    """The beginning of the body; the rest is read and forgotten."""
    ended: bool = False
    keep_alive: bool = False
    cut: bool = False
    """There was more of the body than is kept."""

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Connection(asyncio.Protocol):
    """A connection to a receiver, for one request after the other.

    ``success_bytes``: so much of a success's body is kept.
    """

    def __init__(self, success_bytes: int = _KEPT_BYTES) -> None:
        self._success_bytes = success_bytes
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is closed for good."""
        self.over: asyncio.Future[None] | None = None
        """Where an answer did not come at one go: done when nothing more will come of it."""
        self.answer = Answer()
        self.idle_since = 0.0
        self._reused = False
        self._abort: Callable[[], None] = lambda: None  # until there is a transport
        self._headers_came: asyncio.Future[None] | None = None
        self._parser: HttpResponseParser | None = None  # while something is expected
        self._read_bytes = 0
        self._unsent = memoryview(b"")
        self._paused = False  # the transport still has some of what it was given
        self._small = True
        self._unread = select.poll()
        self._closed_why: Exception | None = None

    async def request(self, head: bytes, body: bytes, deadline: float) -> Answer:
        """Send it, and return the answer as soon as its headers are here: they decide, whatever the body does.

        Where 2xx comes before all is sent, the rest is sent first: it was said before it could be known.

        Raises BadAnswer, TimeoutError at ``deadline`` (of the loop's clock), and other OSErrors; then, and when it is
        cancelled, the connection is closed.
        """
        if self._closed_why is not None:
            raise self._closed_why
        self._reused = self.answer.ended
        self.answer, self.over, self._read_bytes = Answer(), None, 0
        self._parser = _parser(self)
        self._headers_came = self._loop.create_future()
        # asyncio.timeout costs a quarter of the request.
        timer = self._loop.call_at(deadline, self.close, TimeoutError())
        try:
            # Before it is written: the answer may come meanwhile.
            self._small, self._unsent = len(body) <= _SURELY_SENT_BYTES, memoryview(body)[_PIECE_BYTES:]
            self._transport.writelines((head, body[:_PIECE_BYTES]) if body else (head,))
            self._write_on()
            await self._headers_came
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
        return self.answer

    async def rest(self, patience_s: float) -> None:
        """Wait for the end of the answer, but not longer. When it is cancelled, the connection is closed."""
        if self.over is None:
            return
        try:
            await asyncio.wait([self.over], timeout=patience_s)
        except asyncio.CancelledError:
            self.close()
            raise

    @property
    def reusable(self) -> bool:
        """Whether the next request may go this way, as far as can be known."""
        answer = self.answer
        sent = not self._sending and (answer.ok or self._small)
        return answer.ended and answer.keep_alive and sent and self._closed_why is None

    @property
    def answered_only_before(self) -> bool:
        """Whether it answered the request before, and no byte has come since this one."""
        return self._reused and self.answer.status is None and self._read_bytes == 0

    def is_quiet(self) -> bool:
        """Whether nothing has come since, that only waits to be read: it would be taken for the next answer."""
        return not self._unread.poll(0)

    def close(self, why: Exception | None = None) -> None:
        """Close at once; a request whose headers did not come fails with ``why``. Safe to repeat."""
        if self._closed_why is None:
            self._closed_why = why or ConnectionError("the connection was closed")
            self._parser = None
            self._abort()
            self._tell()

    def _drop_all(self) -> None:
        if self._transport.get_write_buffer_size():
            # Else the system would keep what the receiver does not read, and offer it for many minutes more.
            with suppress(OSError):  # it is lost already
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # So that it tells when all has been sent. (With 0, TLS of asyncio would pause for ever.)
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._abort = self._drop_all
        self._unread.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.close(BadAnswer("bytes came before there was a request"))
            return
        try:
            self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - what httptools raises has no narrower base
            # An exception of a callback hides behind one of the parser's.
            self.close(error.__context__ if isinstance(error.__context__, BadAnswer) else BadAnswer(str(error)))
            return
        self._read_bytes += len(data)
        if self.answer.ended:
            self._parser = None
        elif self.answer.status is None and self._read_bytes > _MAX_HEAD_BYTES:
            self.close(BadAnswer(f"its headers have more than {_MAX_HEAD_BYTES} bytes"))
        elif self._read_bytes > self._kept_bytes + _FORGOTTEN_BYTES:
            self.close(BadAnswer("its body is not worth reading to the end"))
        self._tell()

    def eof_received(self) -> None:
        answer = self.answer
        if answer.status is not None and not any(name.lower() in _FRAMING for name, _ in answer.headers):
            answer.ended = True  # its body has no other end than this
        self.close(ConnectionResetError(_NO_ANSWER))

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(exc or ConnectionResetError(_NO_ANSWER))
        self.lost.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write_on()
        self._tell()

    # What the parser calls, from C: an exception stops it.

    def on_message_begin(self) -> None:
        if self.answer.ended:
            raise BadAnswer("a second answer came")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self.answer.headers
        if self.answer.status is not None:
            return  # a trailer
        if len(headers) == _MAX_FIELDS:
            raise BadAnswer(f"it has more than {_MAX_FIELDS} header fields")
        if len(name) + len(value) > _MAX_FIELD_BYTES:
            raise BadAnswer(f"one of its header fields has more than {_MAX_FIELD_BYTES} bytes")
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 100:
            raise BadAnswer(f"its status is {status}")
        if status < 200 and status != 101:
            self.answer.headers.clear()  # informational: the answer is still to come
            return
        self.answer.status = status
        self._read_bytes = 0

    def on_body(self, data: bytes) -> None:
        answer = self.answer
        room = self._kept_bytes - len(answer.body)
        answer.body += data[:room]
        answer.cut = answer.cut or len(data) > room

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self.answer.status is not None:
            self.answer.ended = True
            self.answer.keep_alive = self._parser.should_keep_alive()

    @property
    def _kept_bytes(self) -> int:
        return self._success_bytes if self.answer.ok else _KEPT_BYTES

    @property
    def _sending(self) -> bool:
        return self._paused or len(self._unsent) > 0

    def _write_on(self) -> None:
        while self._unsent and not self._paused and (self.answer.status is None or self.answer.ok):
            piece, self._unsent = self._unsent[:_PIECE_BYTES], self._unsent[_PIECE_BYTES:]
            self._transport.write(piece)

    def _tell(self) -> None:
        """Wake those who wait for what is now here, or will never come."""
        answer, came = self.answer, self._headers_came
        if came is not None and not came.done():
            if self._closed_why is not None and answer.status is None:
                came.set_exception(self._closed_why)
            elif self._closed_why is not None or not (answer.status is None or (answer.ok and self._sending)):
                came.set_result(None)
        if answer.ended or self._closed_why is not None:
            if self.over is not None and not self.over.done():
                self.over.set_result(None)
        elif answer.status is not None and self.over is None:
            self.over = self._loop.create_future()


def _parser(connection: Connection) -> HttpResponseParser:
    """Strict, but for what many servers send and every client takes: a lone line feed, a header that is folded."""
    parser = HttpResponseParser(connection)
    parser.set_dangerous_leniencies(
        lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
    )
    return parser


class Pool:
    """The connections to one receiver: all that are open, and those that are idle."""

    def __init__(self, connect: Callable[[float], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._open: set[Connection] = set()
        self._idle: deque[Connection] = deque()  # the longest idle first
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def idle(self) -> Connection | None:
        """The connection that was used last, if it is still good."""
        earliest = asyncio.get_running_loop().time() - _IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > earliest and connection.is_quiet():
                return connection
            connection.close()
        return None

    async def connect(self, deadline: float) -> Connection:
        """A new connection, before ``deadline`` (of the loop's clock).

        Raises what ``connect`` raises, and ConnectionError when the pool is closed.
        """
        if self._closed:
            raise ConnectionError("the connection was closed")
        connection = await self._connect(deadline)
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        if self._closed:
            connection.close()  # its request will say so
        return connection

    def put_back(self, connection: Connection) -> None:
        """For the next request, if it is good for one."""
        if not connection.reusable:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(_IDLE_S, self._close_idle)

    async def aclose(self) -> None:
        """Close all connections. Safe to repeat."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        closing = list(self._open)
        for connection in closing:
            connection.close()
        if closing:
            await asyncio.wait([connection.lost for connection in closing])

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0].idle_since + _IDLE_S <= loop.time():
            self._idle.popleft().close()
        self._sweep = loop.call_at(self._idle[0].idle_since + _IDLE_S, self._close_idle) if self._idle else None
