"""Certificates in PEM files: whether they can be used, and in words why not."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_FILE_BYTES = 1024 * 1024
_KEY = b"PRIVATE KEY-----"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def load_authorities(context: ssl.SSLContext, path: Path) -> None:
    """Trust the certificates in a file. ValueError, which names it, where there are none."""
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{path} holds no certificates in PEM form") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Present the certificate in a file, whose key is in the same or in another. ValueError, which names the file."""
    holds_key = key or certificate
    if _CERTIFICATE not in _content(certificate):
        raise ValueError(f"{certificate} holds no certificate in PEM form")
    if _KEY not in _content(holds_key):
        also = "; name the file that has it as client_key_file" if key is None else ""
        raise ValueError(f"{holds_key} holds no private key in PEM form{also}")

    def no_password() -> str:
        raise ValueError(
            f"the private key in {holds_key} is encrypted; store it without a password, readable for us only"
        )

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(
                f"the private key in {holds_key} is not that of the certificate in {certificate}"
            ) from None
        raise ValueError(f"{certificate} and its private key in {holds_key} cannot be used: not valid PEM") from None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE_BYTES)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
