"""What goes wrong on the way to a receiver, in words that say what to do."""

from __future__ import annotations

import socket
import ssl

import pytest

from cdc_hooks.deliver.faults import tls_words, words


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (socket.EAI_NONAME, "there is no such name"),
        (socket.EAI_NODATA, "the name has no address"),
        (socket.EAI_AGAIN, "the name servers do not answer, or only with an error"),
        (socket.EAI_FAIL, "non-recoverable failure in name resolution"),  # as the system says it
    ],
)
def test_names(number: int, said: str) -> None:
    assert words(socket.gaierror(number, "Non-recoverable failure in name resolution")) == said


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("WRONG_VERSION_NUMBER", "wrong version number; what answers there does not speak TLS: "),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "tlsv13 alert certificate required; it wants a certificate of ours: "),
        ("TLSV1_ALERT_UNKNOWN_CA", "tlsv1 alert unknown ca; it does not take our certificate: check client_cert_file"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "sslv3 alert certificate expired; it does not take our certificate: "),
    ],
)
def test_tls(reason: str, said: str) -> None:
    error = ssl.SSLError(1, "[SSL] error")
    error.reason = reason
    assert tls_words(error).startswith(said)


def test_tls_of_which_nothing_is_known() -> None:
    error = ssl.SSLError(1, "[SSL] error")
    error.reason = "BAD_RECORD_TYPE"
    assert tls_words(error) == "bad record type"


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        (10, "certificate has expired", "certificate has expired; its owner has to renew it"),
        (62, "not valid for 'a.example'.", "not valid for 'a.example'; the URL needs a name that its certificate has"),
        (23, "certificate revoked", "certificate revoked"),
    ],
)
def test_certificates(code: int, message: str, said: str) -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL] error")
    error.verify_code, error.verify_message = code, message
    assert tls_words(error) == f"certificate verify failed: {said}"
