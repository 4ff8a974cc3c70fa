"""TLS as one webhook wants it: whose certificates are trusted, and which one of our own is presented."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import structlog

from cdc_hooks.config.certificates import load_authorities, load_client_certificate
from cdc_hooks.errors import ConfigError

log = structlog.get_logger()

_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Files:
    """PEM files. ``authorities`` are trusted besides the system's; ``key`` may stand in ``certificate``, too."""

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def stamps(self) -> tuple[_Stamp | None, ...]:
        """What changes when one of the files does."""
        return tuple(_stamp(path) for path in (self.authorities, self.certificate, self.key))


class Trust:
    """The context for new connections. Raises ConfigError where the files cannot be used from the beginning."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._stamps = files.stamps()
        self._context = tls_context(files, self._stamps)

    def context(self) -> ssl.SSLContext:
        """With what the files hold now. While they cannot be used (half of a pair is replaced), with what they held."""
        stamps = self._files.stamps()
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                self._context = tls_context(self._files, stamps)
            except ConfigError as error:
                log.warning("certificates_not_read", error=error.message, hint=error.hint, running="the ones before")
        return self._context


@lru_cache(maxsize=64)
def tls_context(files: Files, _stamps: tuple[_Stamp | None, ...]) -> ssl.SSLContext:
    """Verifies against the system's certificate authorities and those in the files. Raises ConfigError.

    Shared by all that ask for the same: reading the system's authorities takes long enough to be felt at a reload.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    try:
        if files.authorities is not None:
            load_authorities(context, files.authorities)
        if files.certificate is not None:
            load_client_certificate(context, files.certificate, files.key)
    except ValueError as error:
        raise ConfigError(
            f"TLS: {error}", hint="ca_file, client_cert_file and client_key_file are PEM files that this user can read"
        ) from error
    return context


def _stamp(path: Path | None) -> _Stamp | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found else None
