"""Signatures by Ed25519, verified by a public key alone; and what is told of keys."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook

from cdc_hooks.config.credentials import key_of, new_secret
from cdc_hooks.config.ed25519 import SigningKey
from cdc_hooks.deliver.sign import fingerprint, hmac_key, sign
from cdc_hooks.model import Action, Batch, Gap
from cdc_hooks.shape import render, render_gap
from cdc_hooks.shape.envelope import FORMATS
from tests.unit.pages import change, shape

# RFC 8032, section 7.1, test 3.
SEED = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
PUBLIC = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
OF_AF82 = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)
BODY = '{"id":"msg_1","name":"Jürgen €"}'.encode()
HMAC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def whsk(data: bytes) -> str:
    return "whsk_" + base64.b64encode(data).decode()


def signatures(*secrets: str) -> list[str]:
    return sign([key_of(secret) for secret in secrets], "msg_1", 1614265330, BODY)["webhook-signature"].split(" ")


def verify(signature: str, public: bytes, signed: bytes = b"msg_1.1614265330." + BODY) -> None:
    scheme, _, encoded = signature.partition(",")
    assert scheme == "v1a"
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(encoded, validate=True), signed)


@pytest.mark.parametrize("data", [SEED, SEED + PUBLIC], ids=["seed", "seed and public key"])
def test_the_example_of_the_standard(data: bytes) -> None:
    key = key_of(whsk(data))
    assert isinstance(key, SigningKey)
    assert (key.public, key.sign(b"\xaf\x82")) == (PUBLIC, OF_AF82)
    assert key.public_text() == "whpk_" + base64.b64encode(PUBLIC).decode()
    assert key.secret() == whsk(SEED + PUBLIC)


def test_the_public_key_verifies_it() -> None:
    (signature,) = signatures(whsk(SEED))
    verify(signature, PUBLIC)


@pytest.mark.parametrize("changed", [b"msg_2.1614265330." + BODY, b"msg_1.1614265331." + BODY, BODY, b""])
def test_everything_is_signed(changed: bytes) -> None:
    (signature,) = signatures(whsk(SEED))
    with pytest.raises(InvalidSignature):
        verify(signature, PUBLIC, changed)


def test_beside_hmac_both_verify_in_the_order_of_the_list() -> None:
    one, other, third = signatures(HMAC, whsk(SEED), "another of plain text")
    verify(other, PUBLIC)
    assert [one[:3], other[:4], third[:3]] == ["v1,", "v1a,", "v1,"]
    assert [one] == signatures(HMAC)


def test_the_library_takes_the_signature_that_it_knows() -> None:
    headers = sign([key_of(whsk(SEED)), key_of(HMAC)], "msg_1", int(time.time()), BODY)
    assert Webhook(HMAC).verify(BODY, headers) == {"id": "msg_1", "name": "Jürgen €"}


@pytest.mark.parametrize(
    ("secret", "what"),
    [
        ("whsk_", "the private key is too short: 0 bytes decoded, 32 (the seed) or 64"),
        (whsk(SEED[:31]), "the private key is too short: 31 bytes decoded"),
        (whsk(SEED + PUBLIC[:31]), "the private key is of a wrong length: 63 bytes decoded"),
        (whsk(SEED + PUBLIC + b"x"), "the private key is of a wrong length: 65 bytes decoded"),
        (whsk(SEED + SEED), "the second half of the private key is not its public key"),
        ("whsk_with space and more of it", "what follows whsk_ in the secret is not base64"),
        ("whsk_grünes", "what follows whsk_ in the secret is not base64"),
        ("whpk_" + base64.b64encode(PUBLIC).decode(), "this is a public key (whpk_…): it is for the receiver"),
    ],
)
def test_a_private_key_that_is_none(secret: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"key|secret") as caught:
        key_of(secret)
    assert str(caught.value).startswith(what)
    assert len(secret) <= 5 or secret[5:] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_fresh_ones_are_good_and_differ() -> None:
    assert len({new_secret() for _ in range(10)}) == 10
    assert len(key_of(new_secret())) == 32  # type: ignore[arg-type]
    fresh = SigningKey.generate()
    assert key_of(fresh.secret()) == fresh != SigningKey.generate()


def test_a_key_shows_its_public_half_alone() -> None:
    key = key_of(whsk(SEED))
    assert repr(key) == f"SigningKey(whpk_{base64.b64encode(PUBLIC).decode()})"
    assert hash(key) == hash(key_of(whsk(SEED + PUBLIC)))


# -- fingerprints -------------------------------------------------------------------------------------------------


def test_fingerprints_are_the_same_for_ever() -> None:
    """They stand in ledgers: a change of these values would cut the history in two."""
    assert fingerprint(key_of(HMAC)) == "c4021afa"
    assert fingerprint(key_of(whsk(SEED))) == "282f45ad"
    assert fingerprint(key_of(HMAC.rstrip("="))) == fingerprint(key_of(HMAC))
    assert fingerprint(key_of(whsk(SEED + PUBLIC))) == fingerprint(key_of(whsk(SEED)))


def test_a_fingerprint_is_no_plain_hash_and_not_that_of_another_scheme() -> None:
    prints = {fingerprint(PUBLIC), fingerprint(SEED), fingerprint(key_of(whsk(SEED)))}
    assert len(prints) == 3
    for data in (SEED, PUBLIC):
        assert hashlib.sha256(data).hexdigest()[:8] not in prints


# -- the body -----------------------------------------------------------------------------------------------------


def test_the_hmac_is_of_the_first_key_that_is_shared() -> None:
    private, hmac, other = key_of(whsk(SEED)), key_of(HMAC), key_of("another of plain text")
    assert hmac_key([private, other, hmac]) == other
    assert hmac_key([private]) is None


BATCH = Batch("public.orders", Action.UPDATE, (change(1, key=1), change(2, key=2)))


def test_without_a_shared_key_bodies_have_no_hmac_and_are_otherwise_the_same() -> None:
    with_it, without = (render(BATCH, shape(hmac_key=key), lambda _: 1) for key in (b"key", None))
    told = json.loads(with_it.body)
    assert list(told)[:2] == ["id", "hmac"]
    del told["hmac"]
    assert json.dumps(json.loads(without.body)) == json.dumps(told)
    assert without.id == with_it.id


def test_without_a_shared_key_the_news_of_a_gap_has_no_hmac() -> None:
    gap = Gap(1, 0, 9, "a rebase")
    with_it, without = (json.loads(render_gap(gap, shape(hmac_key=key), lambda _: 1).body) for key in (b"key", None))
    assert with_it.pop("hmac")
    assert with_it == without


def test_another_kind_of_key_makes_no_other_batches() -> None:
    old, new = shape(hmac_key=b"key"), shape(hmac_key=None)
    assert old.fingerprint() == new.fingerprint()
    for layout in FORMATS.values():
        assert layout.envelope_size(old, "public.orders") == layout.envelope_size(new, "public.orders")
    assert replace(new, hmac_key=b"key") == old


# -- what is loaded -----------------------------------------------------------------------------------------------

LOADED = """
import sys
from pathlib import Path
from cdc_hooks import daemon, cli
from cdc_hooks.assembly import Plan
from cdc_hooks.config.load import parse
text = "database: {{dsn: dbname=a}}\\nwebhooks: {{w: {{url: 'https://a.example', tables: [a.b], secret: {secret}}}}}"
plan = Plan.of("w", parse(text, Path("c.yaml"), {{}}).webhooks["w"], "i")
from cdc_hooks.deliver.sign import sign
assert sign(plan.keys, "m", 1, b"x")["webhook-signature"].startswith({scheme!r})
assert not any(repr(key) in repr(plan) for key in plan.keys)
print("cryptography" in sys.modules)
"""


@pytest.mark.parametrize(("secret", "scheme", "loaded"), [(HMAC, "v1,", "False"), (whsk(SEED), "v1a,", "True")])
def test_what_signs_by_ed25519_is_loaded_only_where_it_is_needed(secret: str, scheme: str, loaded: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(secret=secret, scheme=scheme)], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (loaded, "")
