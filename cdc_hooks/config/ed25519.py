"""Ed25519 keys as Standard Webhooks writes them: ``whsk_…`` signs, ``whpk_…`` verifies.

``cryptography`` is imported by what needs it only: a daemon without such a secret does not load it.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SEED_BYTES = 32
_PUBLIC_BYTES = 32
_HOW = "; make a pair with: cdc-hooks secret new --ed25519"


class SigningKey:
    """A private key, ready to sign. Equal to another of the same seed; shows only its public half."""

    __slots__ = ("_private", "public", "sign")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.sign = private.sign
        """From a message to the 64 bytes of its signature, always the same."""
        self.public = private.public_key().public_bytes_raw()
        """32 bytes."""

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def generate(cls) -> Self:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, secret: str) -> Self:
        """Of ``whsk_`` and base64 of the seed, alone or with the public key behind it.

        ValueError, which never holds the secret, where it is malformed.
        """
        data = _decoded(secret.removeprefix(PRIVATE_PREFIX))
        if len(data) not in {SEED_BYTES, SEED_BYTES + _PUBLIC_BYTES}:
            too = "too short" if len(data) < SEED_BYTES else "of a wrong length"
            raise ValueError(
                f"the private key is {too}: {len(data)} bytes decoded, {SEED_BYTES} (the seed) or "
                f"{SEED_BYTES + _PUBLIC_BYTES} (the seed and the public key) are wanted{_HOW}"
            )
        key = cls.from_seed(data[:SEED_BYTES])
        if data[SEED_BYTES:] not in {b"", key.public}:
            raise ValueError(f"the second half of the private key is not its public key: it was cut or mixed up{_HOW}")
        return key

    def secret(self) -> str:
        """In the clear, the form that :meth:`parse` takes and that libsodium and Svix use: seed and public key."""
        return PRIVATE_PREFIX + base64.b64encode(self._private.private_bytes_raw() + self.public).decode()

    def public_text(self) -> str:
        """For receivers: ``whpk_…``."""
        return PUBLIC_PREFIX + base64.b64encode(self.public).decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and self.public == other.public

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"SigningKey({self.public_text()})"


def _decoded(encoded: str) -> bytes:
    stripped = encoded.rstrip("=")
    try:
        return base64.b64decode(stripped + "=" * (-len(stripped) % 4), validate=True)
    except (binascii.Error, ValueError):
        # "from None": the cause may quote the secret.
        raise ValueError(f"what follows {PRIVATE_PREFIX} in the secret is not base64{_HOW}") from None
