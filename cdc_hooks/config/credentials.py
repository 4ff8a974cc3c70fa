"""Secrets: signing keys, passwords and tokens, given in the file itself or in a file of their own."""

from __future__ import annotations

import base64
import binascii
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from cdc_hooks.config.certificates import load_authorities
from cdc_hooks.config.ed25519 import PRIVATE_PREFIX, PUBLIC_PREFIX, SigningKey
from cdc_hooks.config.values import Kind, as_list, header_value, not_empty

PREFIX = "whsec_"
SHORTEST_DECODED_BYTES = 24
SHORTEST_PLAIN_BYTES = 16
_LARGEST_FILE_BYTES = 65_536

CONSEQUENCE = "consequence"
"""Type of an error that only follows from another one, which says more."""


@dataclass(frozen=True)
class Credential:
    """What a ``*_file`` key names, read: the content without the newline at its end."""

    path: Path
    content: SecretStr


def key_of(secret: str) -> bytes | SigningKey:
    """The key that a secret stands for: of ``whsk_…`` one for Ed25519, of all others one for HMAC.

    ValueError, which never holds the secret, where it is malformed or too short.
    """
    if secret.startswith(PUBLIC_PREFIX):
        raise ValueError(
            f"this is a public key ({PUBLIC_PREFIX}…): it is for the receiver; the private key ({PRIVATE_PREFIX}…) "
            "that was made with it is wanted here"
        )
    return SigningKey.parse(secret) if secret.startswith(PRIVATE_PREFIX) else signing_key(secret)


def signing_key(secret: str) -> bytes:
    """The HMAC key of a secret. ValueError, which never holds the secret, where it is malformed or too short."""
    if not secret.startswith(PREFIX):
        key = secret.encode()
        if len(key) < SHORTEST_PLAIN_BYTES:
            raise ValueError(
                f"the secret is too short: {len(key)} bytes, at least {SHORTEST_PLAIN_BYTES} are wanted{_HOW}"
            )
        return key
    try:
        encoded = secret.removeprefix(PREFIX).rstrip("=")
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        # "from None": the cause may quote the secret.
        raise ValueError(f"what follows {PREFIX} in the secret is not base64{_HOW}") from None
    if len(key) < SHORTEST_DECODED_BYTES:
        raise ValueError(
            f"the secret is too short: {len(key)} bytes decoded, at least {SHORTEST_DECODED_BYTES} are wanted{_HOW}"
        )
    return key


_HOW = "; make one with: cdc-hooks secret new"


def new_secret() -> str:
    """A fresh one, in the clear."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def or_from_file(given: object, info: ValidationInfo) -> object:
    """The value of a key ``x``, else what ``x_file`` holds. For a field validator of mode ``before``."""
    name = f"{info.field_name}_file"
    if name not in info.data:
        raise PydanticCustomError(CONSEQUENCE, "the file could not be read")
    held = info.data[name]
    if not held:
        return given
    if given is not None:
        raise ValueError(f"give {info.field_name} or {name}, not both")
    if isinstance(held, Credential):
        return held.content.get_secret_value()
    return [one.content.get_secret_value() for one in held]


def given_or_from_file(given: object, info: ValidationInfo) -> object:
    """As :func:`or_from_file`, for a key that must be given in one of the two ways."""
    value = or_from_file(given, info)
    if value is None:
        raise PydanticCustomError("missing", "give {key} or {key}_file", {"key": info.field_name})
    return value


def resolve(given: object, info: ValidationInfo) -> object:
    """A path, relative to the directory of the configuration file. ValueError for what is no path, without it."""
    if isinstance(given, str) and ("-----BEGIN " in given or not given.isprintable()):
        raise ValueError("a file's path is wanted here, not what is in the file")
    if not isinstance(given, (str, Path)) or not str(given):
        return given
    return Path((info.context or {}).get("directory", ".")) / given


def _read(given: object, info: ValidationInfo) -> object:
    path = resolve(given, info)
    if not isinstance(path, Path):
        return given
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        if Path(str(given)).is_absolute() or isinstance(error, PermissionError | IsADirectoryError):
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        # Without what was given: it may be the secret itself, where its file was meant.
        raise ValueError(
            f"the file cannot be read: {error.strerror}; a path is wanted here, not the secret itself; "
            f"where it begins without a '/', it is looked for from the directory {resolve('.', info)} on"
        ) from None
    if len(content) > _LARGEST_FILE_BYTES:
        raise ValueError(f"{path} is larger than {_LARGEST_FILE_BYTES} bytes: not a secret")
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not text:
        raise ValueError(f"{path} is empty")
    return Credential(path, SecretStr(text))


def _certificates(path: Path) -> Path:
    load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)
    return path


def _signing_secret(secret: SecretStr) -> SecretStr:
    key_of(secret.get_secret_value())
    return secret


def _sendable(secret: SecretStr) -> SecretStr:
    if not header_value(secret.get_secret_value()):
        raise ValueError("the value is empty")
    return SecretStr(header_value(secret.get_secret_value()))


def _not_empty(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value():
        raise ValueError("the value is empty")
    return secret


def _path_of(credential: Credential) -> str:
    return str(credential.path)


CredentialFile = Annotated[Credential, Kind("path"), BeforeValidator(_read), PlainSerializer(_path_of, return_type=str)]
CredentialFiles = Annotated[tuple[CredentialFile, ...], BeforeValidator(as_list)]
PemFile = Annotated[Path, Kind("path"), BeforeValidator(resolve)]
CertificateFile = Annotated[Path, Kind("path"), AfterValidator(_certificates), BeforeValidator(resolve)]
Secret = Annotated[SecretStr, Kind("secret"), AfterValidator(_not_empty)]
SecretHeaderValue = Annotated[SecretStr, Kind("secret"), AfterValidator(_sendable)]
SigningSecret = Annotated[SecretStr, Kind("secret"), AfterValidator(_signing_secret)]
SigningSecrets = Annotated[tuple[SigningSecret, ...], AfterValidator(not_empty), BeforeValidator(as_list)]
