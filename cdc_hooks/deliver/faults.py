"""What goes wrong on the way to a receiver: which kind of failure it is, and what to call it."""

from __future__ import annotations

import os
import socket
import ssl

from cdc_hooks.deliver.http1 import BadAnswer
from cdc_hooks.deliver.outcome import Failure


class NoConnection(Exception):
    """There is no connection; what kind of failure that is, and what to call it."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


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
            return Failure.TLS, tls_words(error)
        case OSError():
            return Failure.RESET, words(error)
        case _:
            return Failure.OTHER, plain(f"{type(error).__name__}: {error}")


def plain(text: str, longest: int = 500) -> str:
    """A stranger's text, safe to store and to show: one line, shortened, no control characters."""
    text = text[:longest]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def tls_words(error: ssl.SSLError) -> str:
    """An error of TLS in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return plain(f"certificate verify failed: {error.verify_message}")
    return error.reason.lower().replace("_", " ") if error.reason else plain(str(error))


def words(error: BaseException) -> str:
    """An operating system's error by its number: the text differs between event loops."""
    if isinstance(error, socket.gaierror):
        return plain((error.strerror or str(error)).lower())
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    # Who hangs up in the middle of a handshake is a ConnectionResetError without words.
    return plain(str(error)) or ("the connection was closed" if isinstance(error, ConnectionError) else "unknown error")
