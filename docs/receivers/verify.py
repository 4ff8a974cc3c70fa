"""Verify a request of cdc-hooks: copy this file, and call ``verify`` before anything else."""

import base64
import hmac
import re
import time
from collections.abc import Mapping

TOLERANCE_S = 300


class WrongSignatureError(Exception):
    """The request is not genuine, or too old: answer 401 and forget it."""


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> None:
    """Return if the request is genuine. ``body`` as it came, before any parsing; names of ``headers`` in lower case."""
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not re.fullmatch("[0-9]{1,12}", timestamp) or abs(time.time() - int(timestamp)) > TOLERANCE_S:
        raise WrongSignatureError("the timestamp is missing, or more than five minutes off")
    signed = f"{message_id}.{timestamp}.".encode(errors="replace") + body
    expected = b"v1," + base64.b64encode(hmac.digest(_key(secret), signed, "sha256"))
    # One signature for each secret that is in use while secrets are being changed; other versions are skipped.
    for signature in headers.get("webhook-signature", "").split(" "):
        if hmac.compare_digest(signature.encode(errors="replace"), expected):
            return
    raise WrongSignatureError("no signature matches")


def _key(secret: str) -> bytes:
    """``whsec_`` and base64 of the key, or plain text, which is the key itself."""
    encoded = secret.removeprefix("whsec_")
    key = secret.encode() if encoded == secret else base64.b64decode(encoded + "==")
    if not key:
        raise ValueError("the secret is empty: everybody could sign with it")
    return key
