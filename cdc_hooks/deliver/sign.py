"""Signatures as Standard Webhooks (standardwebhooks.com) describes them: any of its libraries verifies them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def sign(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt; ``timestamp`` in seconds since 1970. Each active key gives a signature."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys
        ),
    }


def fingerprint(key: bytes) -> str:
    """By which people tell keys apart without seeing them."""
    return hashlib.sha256(b"cdc-hooks key fingerprint\0" + key).hexdigest()[:12]
