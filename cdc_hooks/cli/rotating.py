"""Changing a secret with an overlap: how far it is, by the configuration alone, and what comes next.

Nothing is remembered between the steps. Whoever knows the fingerprint of the secret that is to go can have the order
checked: of two secrets nothing else says which is the old one.
"""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from cdc_hooks.config.credentials import key_of, new_secret
from cdc_hooks.config.ed25519 import SigningKey
from cdc_hooks.deliver.sign import fingerprint, hmac_key
from cdc_hooks.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cdc_hooks.deliver.sign import Key

Scheme = Literal["v1", "v1a"]
_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


@dataclass(frozen=True)
class Fresh:
    """A secret that nobody has yet, in the clear."""

    secret: str
    fingerprint: str
    public: str | None
    """``whpk_…`` for the receiver; None where it gets the secret itself."""

    @classmethod
    def make(cls, *, ed25519: bool) -> Self:
        if not ed25519:
            secret = new_secret()
            return cls(secret, fingerprint(key_of(secret)), None)
        key = SigningKey.generate()
        return cls(key.secret(), fingerprint(key), key.public_text())

    def as_data(self) -> dict[str, Any]:
        return {"secret": self.secret, "fingerprint": self.fingerprint, "public": self.public}


def described(keys: Sequence[Key]) -> list[dict[str, Any]]:
    """What may be told of each key."""
    shared = hmac_key(keys)
    return [
        {
            "fingerprint": fingerprint(key),
            "scheme": _scheme_of(key),
            "hmac": key is shared,
            "public": key.public_text() if isinstance(key, SigningKey) else None,
        }
        for key in keys
    ]


def scheme(keys: Sequence[Key], *, ed25519: bool) -> Scheme:
    """Which of a webhook's secrets are meant: those for HMAC if there are any, unless others are asked for."""
    there = {_scheme_of(key) for key in keys}
    if ed25519 and "v1a" not in there:
        raise ConfigError(
            "this webhook has no private key for Ed25519",
            hint="make one with cdc-hooks secret new --ed25519, and add it to the list of secrets",
        )
    return "v1" if "v1" in there and not ed25519 else "v1a"


@dataclass(frozen=True)
class Stage:
    """How far a rotation is. ``keys``: the places in the list of secrets of those that it is about, in order."""

    state: Literal["single", "overlap", "finished", "wrong"]
    scheme: Scheme
    keys: tuple[int, ...]
    fingerprints: tuple[str, ...]
    old: str | None
    problem: str | None = None


def stage_of(keys: Sequence[Key], scheme: Scheme, old: str | None) -> Stage:
    """``old``: the fingerprint of the secret that is to go, where it is known."""
    places = tuple(place for place, key in enumerate(keys) if _scheme_of(key) == scheme)
    own = tuple(fingerprint(keys[place]) for place in places)
    state, problem = _judged(own, old, same=len({keys[place] for place in places}) < len(places))
    return Stage(state, scheme, places, own, old, problem)


def _judged(
    own: tuple[str, ...], old: str | None, *, same: bool
) -> tuple[Literal["single", "overlap", "finished", "wrong"], str | None]:
    if same:
        return "wrong", "the same secret stands there twice: the new one has to be another; take one of them away"
    if len(own) > 2:
        return "wrong", f"there are {len(own)} secrets ({', '.join(own)}): finish one change first, down to one secret"
    if len(own) == 1:
        if old is None:
            return "single", None
        if own[0] != old:
            return "finished", None
        return "wrong", f"the new secret is not in the file yet: {old} is the only one"
    if old is not None and old not in own:
        return "wrong", f"neither of the two secrets ({', '.join(own)}) is {old}"
    if old == own[1]:
        return "wrong", (
            f"the order is wrong: {old} is the old one, and stands behind {own[0]}; put it first (of secrets for HMAC "
            "the first makes the hmac in the body: a receiver that checks that with the old one refuses it otherwise)"
        )
    return "overlap", None


@dataclass(frozen=True)
class Written:
    """How the secrets of a webhook stand in the file, ready to be written anew: files, or values without their text."""

    key: Literal["secret", "secret_file"]
    entries: tuple[str, ...]

    @classmethod
    def of(cls, data: Any, webhook: str, keys: Sequence[Key]) -> Self:
        """``data``: of the file, with variables as they are written."""
        section = data["webhooks"][webhook]
        key: Literal["secret", "secret_file"] = "secret" if section.get("secret") is not None else "secret_file"
        given = section[key] if isinstance(section[key], list) else [section[key]]
        if key == "secret":
            given = [
                text if _VARIABLE.fullmatch(text) else f"<{fingerprint(one)}, as it stands there>"
                for text, one in zip(given, keys, strict=True)
            ]
        return cls(key, tuple(given))

    def with_new(self, place: int, new: str) -> str:
        """The line to write, with a new entry behind one that is there."""
        return self._line([*self.entries[: place + 1], new, *self.entries[place + 1 :]])

    def without(self, place: int) -> str:
        """The line to write, without an entry."""
        return self._line([*self.entries[:place], *self.entries[place + 1 :]])

    def _line(self, entries: Sequence[str]) -> str:
        # JSON's strings are YAML's.
        quoted = [json.dumps(entry, ensure_ascii=False) for entry in entries]
        return f"{self.key}: {quoted[0] if len(quoted) == 1 else '[' + ', '.join(quoted) + ']'}"


@dataclass(frozen=True)
class Advice:
    """What to tell the operator. ``new`` is a fresh secret, where one is needed next; only ``steps`` say it, too."""

    webhook: str
    stage: Stage
    summary: str
    steps: tuple[str, ...] = ()
    """Paragraphs; lines that begin with two spaces are to be typed or copied."""
    write: str | None = None
    new: Fresh | None = None

    def text(self) -> str:
        numbered = [f"{number}. {step}" for number, step in enumerate(self.steps, 1)]
        return "\n\n".join(map(_wrapped, [f"{self.webhook}: {self.summary}", *numbered]))

    def as_data(self) -> dict[str, Any]:
        return {
            "webhook": self.webhook,
            "state": self.stage.state,
            "scheme": self.stage.scheme,
            "fingerprints": self.stage.fingerprints,
            "problem": self.stage.problem,
            "new": None if self.new is None else self.new.as_data(),
            "write": self.write,
        }


def advise(stage: Stage, written: Written, *, webhook: str, path: Path) -> Advice:
    """What the operator does next."""
    if stage.problem is not None:
        return Advice(webhook, stage, stage.problem)
    if stage.state == "finished":
        (new,) = stage.fingerprints
        what = f"done: {stage.old} is gone, {new} signs alone. Destroy the old secret where else it is kept."
        return Advice(webhook, stage, what)
    where = f"in {path}, at webhooks.{webhook}, write:"
    return _begin(stage, written, webhook, where) if stage.state == "single" else _go_on(stage, written, webhook, where)


def _begin(stage: Stage, written: Written, webhook: str, where: str) -> Advice:
    (old,), (place,) = stage.fingerprints, stage.keys
    fresh = Fresh.make(ed25519=stage.scheme == "v1a")
    entry = written.entries[place]
    keep = f"This is a new secret, {fresh.fingerprint}, shown this once:\n\n  {fresh.secret}\n\n"
    shown = f"<{fresh.fingerprint}, the new secret>"
    if written.key == "secret_file":
        shown = f"{entry}.new"
        first = f"{keep}Put it into a file of its own beside the old one, of the same owner and mode; {where}"
    elif _VARIABLE.fullmatch(entry):
        shown = entry.replace("}", "_NEW}")
        first = f"{keep}Put it into a variable of its own beside the old one's; {where}"
    else:
        first = f"The new secret, {fresh.fingerprint}, is shown this once; {where}"
    # A value that stands in the file itself is shown in its place, and nowhere else.
    line = written.with_new(place, shown if shown[0] != "<" else fresh.secret)
    about = "Ed25519" if stage.scheme == "v1a" else "HMAC; it also makes the body's hmac"
    tell = f"Give the receiver its public key, {fresh.public}." if fresh.public else "Give it to the receiver."
    return Advice(
        webhook,
        stage,
        f"one secret, {old} ({about}). To change it so that no delivery is refused, put a new one behind it:",
        (
            f"{first}\n\n  {line}",
            f"Then {_take_up(entry)}\n\n{_check(stage, webhook, old)}",
            f"{tell} {_BOTH[stage.scheme]}",
            "When it verifies with the new one, take the old one away, and check in the same way: the check says how.",
        ),
        written.with_new(place, shown),
        fresh,
    )


def _go_on(stage: Stage, written: Written, webhook: str, where: str) -> Advice:
    old, new = stage.fingerprints
    write = written.without(stage.keys[0])
    summary = f"a change is under way: {old} stands first, then {new}; requests are signed with both."
    if stage.scheme == "v1":
        summary += f" The hmac in the body is made with {old}."
    if stage.old is None:
        summary += f" If {old} is not the old one, put it second; --old FINGERPRINT checks that."
    return Advice(
        webhook,
        stage,
        summary,
        (
            f"Unless that was done since the file was changed: {_take_up(written.entries[stage.keys[1]])}",
            f"Give the receiver {_KIND[stage.scheme]} {new}, if it has not got it yet. {_BOTH[stage.scheme]}",
            f"When it verifies with {new}, take {old} away; {where}\n\n  {write}",
            f"Then {_take_up('')}\n\n{_check(stage, webhook, old)}",
        ),
        write,
    )


_KIND: dict[Scheme, str] = {"v1": "the secret", "v1a": "the public key (cdc-hooks secret show prints it) of"}
_BOTH: dict[Scheme, str] = {
    "v1a": "Requests have a signature of both now, so it may change over at any time.",
    "v1": "Requests have a signature of both now, so it may change over at any time. (The body has room for one hmac, "
    "which stays that of the old one until that is gone: who checks that must accept either.)",
}


def _take_up(entry: str) -> str:
    """What makes the daemon see a new entry of this kind."""
    if "CREDENTIALS_DIRECTORY" in entry:
        return (
            "add a line LoadCredential= for the new file to the service's unit, and restart the service: systemd "
            "reads credentials only then.\n\n  systemctl daemon-reload && systemctl restart cdc-hooks"
        )
    if _VARIABLE.fullmatch(entry):
        return "restart the service: it sees new variables only then.\n\n  systemctl restart cdc-hooks"
    return "have the service read the file; its log then says reloaded, with the name.\n\n  systemctl reload cdc-hooks"


def _check(stage: Stage, webhook: str, old: str) -> str:
    option = " --ed25519" if stage.scheme == "v1a" else ""
    return f"Check it:\n\n  cdc-hooks secret rotate {webhook} --old {old}{option}"


def _wrapped(step: str) -> str:
    lines = [
        line if line.startswith("  ") else textwrap.fill(line, 96, break_long_words=False, break_on_hyphens=False)
        for line in step.split("\n")
    ]
    return textwrap.indent("\n".join(lines), "   ").strip()


def _scheme_of(key: Key) -> Scheme:
    return "v1" if isinstance(key, bytes) else "v1a"
