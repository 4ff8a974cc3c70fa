"""A proxy on the way to a receiver: what is asked of it, and what its answers mean.

https goes through a tunnel (CONNECT): the proxy carries bytes that it cannot read. http is asked for in absolute form.
What fails here is the proxy's failure, not the receiver's.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass, field

from cdc_hooks.deliver.faults import NoConnection, plain
from cdc_hooks.deliver.outcome import Failure

WANTS_CREDENTIALS = 407
_MOST_BYTES = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r\n]")
_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True)
class Proxy:
    """Where it is. ``authorization``: the value of Proxy-Authorization, a secret; empty for none."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return authority(self.host, self.port)

    def fails(self, what: str) -> NoConnection:
        """What to raise where it is to blame."""
        return NoConnection(Failure.PROXY, f"{self}: {plain(what)}")

    def headers(self) -> dict[str, str]:
        """Of each request that it is to read."""
        return {"proxy-authorization": self.authorization} if self.authorization else {}


def refusal(status: int) -> str:
    """What an answer of the proxy's own that is no success means."""
    if status == WANTS_CREDENTIALS:
        return "answered 407: it wants other credentials than proxy_auth gives it"
    return f"answered {status}"


def authority(host: str, port: int) -> str:
    """Host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def open_tunnel(sock: socket.socket, proxy: Proxy, to: str) -> None:
    """Have a proxy that ``sock`` is connected to open a tunnel to ``host:port``. Raises NoConnection."""
    loop = asyncio.get_running_loop()
    lines = [f"CONNECT {to} HTTP/1.1", f"host: {to}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers().items()]
    try:
        await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        head, rest = await _head(sock, proxy)
    except OSError as error:
        raise proxy.fails(f"the connection was closed before it answered to CONNECT {to}") from error
    status = _STATUS.match(head)
    if status is None:
        raise proxy.fails(f"what it answered to CONNECT {to} is not HTTP")
    if not status[1].startswith(b"2"):
        raise proxy.fails(f"{refusal(int(status[1]))} (CONNECT {to})")
    if rest:
        raise proxy.fails("it sent bytes into the tunnel that nobody asked for")


async def _head(sock: socket.socket, proxy: Proxy) -> tuple[bytes, bytes]:
    """The head of its answer, and what came after it."""
    loop = asyncio.get_running_loop()
    came = b""
    while (end := _END.search(came)) is None:
        if len(came) > _MOST_BYTES:
            raise proxy.fails(f"the head of its answer to CONNECT has more than {_MOST_BYTES} bytes")
        more = await loop.sock_recv(sock, 4096)
        if not more:
            raise ConnectionResetError
        came += more
    return came[: end.start()] + b"\r\n", came[end.end() :]
