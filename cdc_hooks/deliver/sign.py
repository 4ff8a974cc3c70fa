"""Signatures as Standard Webhooks (standardwebhooks.com) describes them: any of its libraries verifies them."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

from cdc_hooks.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX = "whsec_"
_HINT = "make one with: echo whsec_$(openssl rand -base64 32)"


def key_of(secret: str) -> bytes:
    """The key of a secret: of ``whsec_…`` the decoded base64, of any other text its UTF-8 bytes.

    Raises ConfigError, which never shows the secret.
    """
    if not secret.startswith(_PREFIX):
        if not secret:
            raise ConfigError("the secret is empty", hint=_HINT)
        return secret.encode()
    encoded = secret.removeprefix(_PREFIX).rstrip("=")
    try:
        # Strictly, as the receiver's library may skip what it does not know, and arrive at another key.
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError("the secret begins with whsec_, but what follows is not base64", hint=_HINT) from error
    if not key:
        raise ConfigError("the secret begins with whsec_, but nothing follows", hint=_HINT)
    return key


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
