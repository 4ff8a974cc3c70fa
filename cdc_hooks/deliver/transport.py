"""The HTTP client underneath ``post``: how it is set up, and what its exceptions mean. The edge to aiohttp and ssl."""

from __future__ import annotations

import math
import os
import socket
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING

import aiohttp

from cdc_hooks.deliver.outcome import Failure
from cdc_hooks.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.abc import AbstractResolver

# Common servers (Node.js, uvicorn, Apache) close a connection that was idle for 5 s. A request that crosses such a
# close is lost and cannot be told from one that was processed, so we are the first to close.
_IDLE_S = 4.0
_MAX_HEADERS = 64
_MAX_HEADER_BYTES = 8190


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


def open_session(
    tls: ssl.SSLContext | None, connect_timeout_s: float, max_connections: int, resolver: AbstractResolver | None
) -> aiohttp.ClientSession:
    """Connections to one receiver. Nothing comes from the environment: no proxies, no netrc; no cookies are kept."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            # Twice: an answer's body may still be drained while the next request is under way.
            limit=2 * max_connections,
            ssl=tls or True,
            keepalive_timeout=_IDLE_S,
            resolver=resolver or aiohttp.ThreadedResolver(),
        ),
        # The whole attempt has a deadline in post; "connect" is name lookup, TCP and TLS. Nothing is rounded up.
        timeout=aiohttp.ClientTimeout(
            total=None, connect=connect_timeout_s, sock_connect=None, ceil_threshold=math.inf
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
        max_headers=_MAX_HEADERS,
    )


def translate(error: Exception, connect_timeout_s: float) -> tuple[Failure, str]:
    """What kind of failure an exception of the client is, and what to call it."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return Failure.TIMEOUT, f"no connection within {connect_timeout_s:g} s"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return Failure.TLS, _tls_words(error.__cause__)
        case aiohttp.ClientConnectorDNSError():
            return Failure.CONNECT, f"{error.host} cannot be resolved: {_words(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return Failure.CONNECT, _words(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return Failure.RESET, "the connection was closed before an answer came"
        case aiohttp.ClientOSError() if isinstance(error.__cause__, ssl.SSLError):
            return Failure.TLS, _tls_words(error.__cause__)
        case aiohttp.ClientConnectionError():
            return Failure.RESET, _words(error)
        case aiohttp.ClientResponseError():
            return Failure.PROTOCOL, plain(error.message.strip().partition("\n")[0].rstrip(":"))
        case _:
            return Failure.OTHER, plain(f"{type(error).__name__}: {error}")


def plain(text: str, longest: int = 500) -> str:
    """A stranger's text, safe to store and to show: one line, shortened, no control characters."""
    text = text[:longest]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _tls_words(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return plain(f"certificate verify failed: {error.verify_message}")
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return reason.lower().replace("_", " ") if reason else plain(str(error))


def _words(error: BaseException) -> str:
    """An operating system's error by its number: the text differs between event loops."""
    if isinstance(error, socket.gaierror):
        return plain((error.strerror or str(error)).lower())
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return plain(str(error)) or type(error).__name__
