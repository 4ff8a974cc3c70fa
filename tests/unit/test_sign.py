"""Signatures, verified by the receivers' own library."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from cdc_hooks.config.credentials import signing_key
from cdc_hooks.deliver.sign import sign

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"id":"msg_1","name":"Jürgen €"}'.encode()


def now() -> int:
    return int(time.time())


def test_the_library_verifies_it() -> None:
    headers = sign([signing_key(SECRET)], "msg_1", now(), BODY)
    assert Webhook(SECRET).verify(BODY, headers) == {"id": "msg_1", "name": "Jürgen €"}


def test_the_example_of_the_specification() -> None:
    headers = sign([signing_key(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_plain_secret_is_its_own_key() -> None:
    assert signing_key("pässwörter mit Salz") == "pässwörter mit Salz".encode()
    headers = sign([signing_key("pässwörter mit Salz")], "msg_1", now(), BODY)
    Webhook("pässwörter mit Salz".encode()).verify(BODY, headers)


def test_while_rotating_both_secrets_verify() -> None:
    headers = sign([b"new", b"old"], "msg_1", now(), BODY)
    for secret in (b"new", b"old"):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(b"another").verify(BODY, headers)


@pytest.mark.parametrize("field", ["webhook-id", "webhook-timestamp", "body"])
def test_everything_is_signed(field: str) -> None:
    headers = sign([b"key"], "msg_1", now(), BODY)
    body = BODY + b" " if field == "body" else BODY
    changed = headers | {
        "webhook-id": {"webhook-id": "msg_2"},
        "webhook-timestamp": {"webhook-timestamp": str(now() + 60)},
    }.get(field, {})
    with pytest.raises(WebhookVerificationError):
        Webhook(b"key").verify(body, changed)


@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_the_padding_of_a_secret_may_be_missing(padding: str) -> None:
    encoded = base64.b64encode(b"k" * 31).decode().rstrip("=")
    assert signing_key(f"whsec_{encoded}{padding}") == b"k" * 31


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_===", "whsec_with space", "whsec_a-b-c-d-", "whsec_grün", "whsec_abcde"]
)
def test_a_secret_that_is_none(secret: str) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        signing_key(secret)
    assert len(secret) <= 6 or secret.removeprefix("whsec_") not in str(caught.value)
