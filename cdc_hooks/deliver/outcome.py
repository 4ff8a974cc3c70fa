"""What became of one attempt: data only, so that the policy can decide without knowing the network."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Failure(StrEnum):
    """Why an attempt has no answer, or (``redirect``) one that is not followed."""

    TIMEOUT = "timeout"
    CONNECT = "connect"
    TLS = "tls"
    RESET = "reset"
    PROTOCOL = "protocol"
    REDIRECT = "redirect"
    FORBIDDEN = "forbidden"
    """Its address may not be connected to."""
    PROXY = "proxy"
    """The proxy failed, not the endpoint behind it."""
    OTHER = "other"


class Outcome(NamedTuple):
    """One attempt. Either the receiver answered (``status``) or something else happened (``error``, ``detail``)."""

    status: int | None = None
    error: Failure | None = None
    detail: str = ""
    """What happened, in words, where ``status`` is not the whole story."""
    headers: tuple[tuple[str, str], ...] = ()
    """Of the answer, names in lower case; shortened, without control characters."""
    body: bytes = b""
    """The beginning of the answer's body, as sent: possibly compressed, possibly not text."""
    complete: bool = True
    """Whether ``body`` is all of it."""
    retry_after: str | None = None
    location: str | None = None
    duration_s: float = 0.0
    """From the call to the answer's headers or the failure, in whole microseconds."""

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def error_class(self) -> str:
        """In one word, for metrics and the ledger: a failure's name, or the class of the status, such as ``5xx``."""
        if self.error is not None:
            return self.error.value
        return f"{self.status // 100}xx" if self.status is not None else Failure.OTHER.value
