"""A TCP proxy to lose connections with: cut, refused, or silent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Between a client and a server on the loopback address. Its methods may be called from any thread."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._open: set[asyncio.StreamWriter] = set()
        self._accepting = True
        self.port = 0
        self.connections = 0
        """How many there have been."""

    def cut(self, *, stay_down: bool = False) -> None:
        """Reset all connections; ``stay_down``: and all that follow, until ``heal``."""
        self._in_loop(lambda: self._cut(stay_down))

    def stall(self) -> None:
        """Keep the connections, and carry nothing over them until ``heal``."""
        self._in_loop(self._flowing.clear)

    def heal(self) -> None:
        self._in_loop(self._heal)

    async def serve(self, ready: threading.Event, done: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._loop.run_in_executor(None, done.wait)
        server.close()
        self._cut(stay_down=True)
        self._flowing.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connected(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            if not self._accepting:
                return
            above_reader, above_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
            self._open.add(above_writer)
            try:
                one, other = self._pump(reader, above_writer), self._pump(above_reader, writer)
                pumps = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
            finally:
                self._close(above_writer)
        except OSError:
            pass
        finally:
            self._close(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()

    def _close(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.transport.abort()

    def _cut(self, stay_down: bool) -> None:
        self._accepting = not stay_down
        for writer in list(self._open):
            self._close(writer)

    def _heal(self) -> None:
        self._accepting = True
        self._flowing.set()

    def _in_loop(self, action: object) -> None:
        done = threading.Event()

        def act() -> None:
            action()  # type: ignore[operator]
            done.set()

        self._loop.call_soon_threadsafe(act)
        assert done.wait(10)


@contextmanager
def proxied(upstream_port: int) -> Iterator[Proxy]:
    """A running proxy to a port of this machine."""
    proxy = Proxy(upstream_port)
    ready, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(proxy.serve(ready, done),), name="proxy")
    thread.start()
    try:
        assert ready.wait(10)
        yield proxy
    finally:
        done.set()
        thread.join()
