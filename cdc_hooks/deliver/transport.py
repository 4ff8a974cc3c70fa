"""The way to a receiver: TLS, connecting, and what the errors of it mean. The edge to sockets and ssl."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from aiohappyeyeballs import AddrInfoType, start_connection

from cdc_hooks.deliver.http1 import BadAnswer, Connection
from cdc_hooks.deliver.outcome import Failure
from cdc_hooks.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

Resolver = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]
"""From a host and a port to addresses, as those of ``socket.getaddrinfo``. May refuse by raising OSError."""

# How long the first address is tried alone before the next one is tried, too (RFC 8305).
_NEXT_ADDRESS_S = 0.25


class NoConnection(Exception):
    """There is no connection; what kind of failure that is, and what to call it."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies against the system's certificate authorities, and those in ``ca_file`` (PEM). Raises ConfigError.

    Shared by all that ask for the same: reading the system's authorities takes long enough to be felt at a reload. The
    file is read again when it has changed.
    """
    try:
        return _tls_context(ca_file, 0 if ca_file is None else ca_file.stat().st_mtime_ns)
    except OSError as error:  # also what ssl raises
        problem = "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else _words(error)
        raise ConfigError(
            f"cannot read the certificate authorities in {ca_file}: {problem}",
            hint="ca_file is a file of PEM certificates that this user can read",
        ) from error


@lru_cache(maxsize=32)
def _tls_context(ca_file: Path | None, _written_at: int) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


async def look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    """The addresses of a host, as this machine resolves names."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def connect(host: str, port: int, tls: ssl.SSLContext | None, resolver: Resolver, timeout_s: float) -> Connection:
    """A new connection, in time: name lookup, TCP, TLS. Raises NoConnection.

    Nothing comes from the environment: no proxies, no netrc.
    """
    deadline = asyncio.timeout(timeout_s)
    try:
        async with deadline:
            return await _connect_to(await _addresses(host, port, resolver), host, tls)
    except ssl.SSLError as error:
        raise NoConnection(Failure.TLS, _tls_words(error)) from error
    except OSError as error:
        if deadline.expired():
            raise NoConnection(Failure.TIMEOUT, f"no connection within {timeout_s:g} s") from error
        raise NoConnection(Failure.CONNECT, _words(error)) from error


async def _addresses(host: str, port: int, resolver: Resolver) -> Sequence[AddrInfoType]:
    try:
        addresses = await resolver(host, port)
    except (OSError, UnicodeError) as error:
        raise NoConnection(Failure.CONNECT, f"{host} cannot be resolved: {_words(error)}") from error
    if not addresses:
        raise NoConnection(Failure.CONNECT, f"{host} cannot be resolved: it has no address")
    return addresses


async def _connect_to(addresses: Sequence[AddrInfoType], host: str, tls: ssl.SSLContext | None) -> Connection:
    sock = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S)
    connection = Connection()
    # Certificates name hosts without the dot at their end.
    name = host.removesuffix(".") if tls else None
    try:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: connection, sock=sock, ssl=tls, server_hostname=name)
    except BaseException:
        connection.close()
        sock.close()
        raise
    return connection


def translate(error: Exception, total_timeout_s: float) -> tuple[Failure, str]:
    """What kind of failure an exception of an attempt is, and what to call it."""
    match error:
        case NoConnection():
            return error.failure, error.detail
        case BadAnswer():
            return Failure.PROTOCOL, plain(str(error))
        case TimeoutError() if error.errno is None:  # ours; the system's, which ends a connection, has a number
            return Failure.TIMEOUT, f"no answer within {total_timeout_s:g} s"
        case ssl.SSLError():
            return Failure.TLS, _tls_words(error)
        case OSError():
            return Failure.RESET, _words(error)
        case _:
            return Failure.OTHER, plain(f"{type(error).__name__}: {error}")


def plain(text: str, longest: int = 500) -> str:
    """A stranger's text, safe to store and to show: one line, shortened, no control characters."""
    text = text[:longest]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return plain(f"certificate verify failed: {error.verify_message}")
    return error.reason.lower().replace("_", " ") if error.reason else plain(str(error))


def _words(error: BaseException) -> str:
    """An operating system's error by its number: the text differs between event loops."""
    if isinstance(error, socket.gaierror):
        return plain((error.strerror or str(error)).lower())
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    # Who hangs up in the middle of a handshake is a ConnectionResetError without words.
    return plain(str(error)) or ("the connection was closed" if isinstance(error, ConnectionError) else "unknown error")
