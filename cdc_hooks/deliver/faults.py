"""What goes wrong on the way to a receiver: which kind of failure it is, and what to call it."""

from __future__ import annotations

import os
import socket
import ssl

from cdc_hooks.deliver.http1 import BadAnswer
from cdc_hooks.deliver.outcome import Failure

# What getaddrinfo answers: its own texts do not say that they are about a name, or what the name servers said.
_NAMES = {
    socket.EAI_NONAME: "there is no such name",
    socket.EAI_NODATA: "the name has no address",
    socket.EAI_AGAIN: "the name servers do not answer, or only with an error",
}
_TO_BE_TRUSTED = "if it is to be trusted, give its authority's certificate in ca_file"
_NAME_IT = "the URL needs a name that its certificate has"
# What to do, by the code of a verification (X509_V_ERR_…).
_VERIFYING = {
    9: "check the clock of this machine",
    10: "its owner has to renew it",
    18: _TO_BE_TRUSTED,
    19: _TO_BE_TRUSTED,
    20: _TO_BE_TRUSTED,
    21: _TO_BE_TRUSTED,
    62: _NAME_IT,
    64: _NAME_IT,
}
_OURS = "it does not take our certificate: check client_cert_file"
# And by the reason that OpenSSL gives: what is not TLS at all, or the receiver's alert about our certificate.
_TLS = {
    "WRONG_VERSION_NUMBER": "what answers there does not speak TLS: check the port, and the https:// of the URL",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it may want a certificate of ours: check client_cert_file",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours: set client_cert_file",
    "TLSV1_ALERT_UNKNOWN_CA": _OURS,
    "SSLV3_ALERT_BAD_CERTIFICATE": _OURS,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _OURS,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _OURS,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _OURS,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _OURS,
}


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
    """An error of TLS in words, with what to do where that is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"certificate verify failed: {plain(error.verify_message.removesuffix('.'))}"
        advice = _VERIFYING.get(error.verify_code)
    else:
        what = error.reason.lower().replace("_", " ") if error.reason else plain(str(error))
        advice = _TLS.get(error.reason or "")
    return f"{what}; {advice}" if advice else what


def words(error: BaseException) -> str:
    """An operating system's error by its number: the text differs between event loops."""
    if isinstance(error, socket.gaierror):
        return _NAMES.get(error.errno or 0) or plain((error.strerror or str(error)).lower())
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    # Who hangs up in the middle of a handshake is a ConnectionResetError without words.
    return plain(str(error)) or ("the connection was closed" if isinstance(error, ConnectionError) else "unknown error")
