"""Signatures as Standard Webhooks (standardwebhooks.com) describes them: any of its libraries verifies them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class PrivateKey(Protocol):
    """An Ed25519 key: it signs without anybody else knowing how."""

    @property
    def public(self) -> bytes: ...
    @property
    def sign(self) -> Signing: ...


class Signing(Protocol):
    def __call__(self, message: bytes, /) -> bytes: ...


Key = bytes | PrivateKey
"""Bytes are a key for HMAC-SHA256, which sender and receiver share."""


def sign(keys: Iterable[Key], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt; ``timestamp`` in seconds since 1970. Each active key gives a signature."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            [
                "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
                if isinstance(key, bytes)
                else "v1a," + base64.b64encode(key.sign(signed)).decode()
                for key in keys
            ]
        ),
    }


def hmac_key(keys: Iterable[Key]) -> bytes | None:
    """The key of a body's ``hmac``: the first that sender and receiver share, or None if there is none."""
    return next((key for key in keys if isinstance(key, bytes)), None)


def fingerprint(key: Key) -> str:
    """Eight hex digits that tell one key from another, and not what it is; safe to store and to show.

    The same for ever and in every installation. Of an Ed25519 key it is that of its public half, and so the receiver
    can make it, too. So short on purpose: it confirms no guess of a key for certain.
    """
    scheme, told = (b"v1", key) if isinstance(key, bytes) else (b"v1a", key.public)
    return hashlib.sha256(b"cdc-hooks key fingerprint %b\0%b" % (scheme, told)).hexdigest()[:8]
