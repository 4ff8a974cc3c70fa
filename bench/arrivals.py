"""A receiver that stamps arrivals, in a process of its own. ``python -m bench.arrivals FILE``.

It says which port it listens on, answers at once and does nothing else. What arrived is looked at when it ends, and
written to FILE: for each row its id, and when the request with it was there to its last byte, in nanoseconds of the
machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
_LENGTH = b"content-length: "

Arrival = tuple[int, bytes]


class Stamper(asyncio.Protocol):
    """Just enough of HTTP/1.1: requests with a content-length, one after the other."""

    def __init__(self, arrivals: list[Arrival]) -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._buffer += data
        while (end := body_end(self._buffer)) is not None:
            self._arrivals.append((now, self._buffer[:end]))
            self._buffer = self._buffer[end:]
            if self._transport is not None:
                self._transport.write(_ANSWER)


def body_end(buffer: bytes) -> int | None:
    """Where the first request in the buffer ends, or None if it is not whole yet."""
    head, separator, _ = buffer.partition(b"\r\n\r\n")
    if not separator:
        return None
    length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
    end = len(head) + len(separator) + int(length)
    return end if len(buffer) >= end else None


def rows_of(arrivals: list[Arrival]) -> list[tuple[int, int]]:
    """The id of each row that arrived, and when."""
    return [
        (item["rowId"], at)
        for at, request in arrivals
        for item in json.loads(request.partition(b"\r\n\r\n")[2])["items"]
    ]


async def serve() -> list[Arrival]:
    """Receive until SIGTERM."""
    arrivals: list[Arrival] = []
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: Stamper(arrivals), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()
    return arrivals


if __name__ == "__main__":
    arrived = uvloop.run(serve())
    Path(sys.argv[1]).write_text(json.dumps(rows_of(arrived)), encoding="utf-8")
