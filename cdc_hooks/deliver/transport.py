"""The way to a receiver: its addresses, TCP, a proxy's tunnel, TLS. The edge to sockets and ssl."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohappyeyeballs import AddrInfoType, start_connection

from cdc_hooks.addresses import literal
from cdc_hooks.deliver.faults import NoConnection, tls_words, words
from cdc_hooks.deliver.http1 import Connection
from cdc_hooks.deliver.outcome import Failure
from cdc_hooks.deliver.proxy import Proxy, authority, open_tunnel
from cdc_hooks.deliver.resolve import Resolver
from cdc_hooks.deliver.trust import Trust

# How long the first address is tried alone before the next one is tried, too (RFC 8305).
_NEXT_ADDRESS_S = 0.25
# With less than this left, the time went elsewhere, such as in waiting for a place: that is no failure to connect.
_LEAST_S = 0.001


@dataclass(frozen=True)
class Way:
    """How to get to a receiver.

    ``resolver`` gives the addresses to connect to, or refuses; the name goes only into TLS and Host. Where there is a
    ``proxy``, a name is for that to resolve, and ``proxy_resolver`` gives the proxy's own addresses. ``trust`` is None
    for http.
    """

    host: str
    port: int
    trust: Trust | None
    resolver: Resolver
    proxy: Proxy | None
    proxy_resolver: Resolver


async def connect(
    way: Way, timeout_s: float, deadline: float, *, new: Callable[[], Connection] = Connection
) -> Connection:
    """A ``new`` connection, in time: name lookup, TCP, TLS. Raises NoConnection, or TimeoutError if there is no time.

    ``deadline`` (of the loop's clock) may come before ``timeout_s`` is over. It is watched here, where it is known
    who is to blame. Nothing comes from the environment: no proxies, no netrc.
    """
    time_s = min(timeout_s, deadline - asyncio.get_running_loop().time())
    if time_s < _LEAST_S:
        raise TimeoutError
    limit, attempt = asyncio.timeout(time_s), _Attempt(way, new)
    try:
        async with limit:
            return await attempt.run()
    except ssl.SSLError as error:
        raise NoConnection(Failure.TLS, tls_words(error)) from error
    except OSError as error:
        if limit.expired():
            raise attempt.late(f"{round(max(time_s, 0), 3):g} s") from error
        raise NoConnection(Failure.CONNECT, words(error) + attempt.where()) from error


class _Attempt:
    """An attempt to connect, which knows how far it has got."""

    def __init__(self, way: Way, new: Callable[[], Connection]) -> None:
        self._way = way
        self._new = new
        self._resolving = self._at_the_proxy = self._in_tls = False

    async def run(self) -> Connection:
        way = self._way
        sock = await (self._straight() if way.proxy is None else self._through(way.proxy))
        connection = self._new()
        tls = way.trust.context() if way.trust else None
        # Certificates name hosts without the dot at their end.
        name = way.host.removesuffix(".") if tls else None
        self._in_tls = tls is not None
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: connection, sock=sock, ssl=tls, server_hostname=name)
        except BaseException:
            connection.close()
            sock.close()
            raise
        return connection

    def late(self, time: str) -> NoConnection:
        """What to raise when the time is over."""
        if self._way.proxy is not None and self._at_the_proxy:
            return self._way.proxy.fails(f"no connection through it within {time}")
        if self._resolving:
            return NoConnection(Failure.TIMEOUT, f"{self._way.host} was not resolved within {time}")
        if self._in_tls:
            what = f"the TLS handshake was not over within {time}, although the connection was made"
            return NoConnection(Failure.TIMEOUT, what)
        return NoConnection(Failure.TIMEOUT, f"no connection within {time}")

    def where(self) -> str:
        """What to add to the words of an error: it comes as no surprise only while there is no connection yet."""
        return " in the TLS handshake" if self._in_tls else ""

    async def _straight(self) -> socket.socket:
        self._resolving = True
        addresses = await _addresses(self._way.host, self._way.port, self._way.resolver)
        self._resolving = False
        return await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S)

    async def _through(self, proxy: Proxy) -> socket.socket:
        way = self._way
        if literal(way.host) is not None:
            await way.resolver(way.host, way.port)  # which may refuse; a name is for the proxy to resolve
        self._at_the_proxy = True
        try:
            addresses = await _addresses(proxy.host, proxy.port, way.proxy_resolver)
            sock = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S)
        except NoConnection as error:
            raise proxy.fails(error.detail) from error
        except OSError as error:
            raise proxy.fails(words(error)) from error
        try:
            if way.trust is not None:
                await open_tunnel(sock, proxy, authority(way.host, way.port))
        except BaseException:
            sock.close()
            raise
        self._at_the_proxy = False
        return sock


async def _addresses(host: str, port: int, resolver: Resolver) -> Sequence[AddrInfoType]:
    try:
        addresses = await resolver(host, port)
    except (OSError, UnicodeError) as error:
        raise NoConnection(Failure.CONNECT, f"{host} cannot be resolved: {words(error)}") from error
    if not addresses:
        raise NoConnection(Failure.CONNECT, f"{host} cannot be resolved: it has no address")
    return addresses
