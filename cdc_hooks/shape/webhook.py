"""What of a webhook's configuration shapes its batches and bodies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from cdc_hooks.model import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

Ordering = Literal["key", "strict", "none"]

# Raised whenever the same configuration and page would give other batches than the version before did.
_RULES_VERSION = 3


@dataclass(frozen=True)
class Subscription:
    """What a webhook wants of one table."""

    actions: frozenset[Action]
    fields: tuple[str, ...] | None
    """Columns in the order in which they are sent; None: all of the log's; (): none, ``data`` is null."""
    passthrough: bool
    """The log holds exactly these fields: rows are sent as they are, unparsed."""


@dataclass(frozen=True)
class Shape:
    """All that decides which batches a webhook gets of a page, and their bytes."""

    webhook: str
    installation: str
    """UUID of the cdc_hooks schema, so that two databases never make the same message id."""
    subscriptions: Mapping[str, Subscription]
    """By SQL name of the table, as in ``Change.table``."""
    ordering: Ordering
    concurrency: int
    max_events: int
    max_bytes: int
    """Of a whole body. A single change that is larger goes alone."""
    client_code: str | None
    hmac_key: bytes | None = field(repr=False)
    """Of the body's ``hmac``. None: the receiver has no key in common with us, and bodies do not have that field."""
    format: str = "batch"
    replay: str | None = None
    """Which replay of the log this is; said in each body, and part of each id. Replays make no claims."""

    def fingerprint(self) -> str:
        """A short, stable hash of what decides the batches of a page: a claim is only resumed under the same one."""
        return fingerprint_of(self.described())

    def described(self) -> str:
        """All that decides the batches of a page, as JSON.

        The key is left out on purpose: after a rotation the same batches go out, with the new key's ``hmac``, or
        without one.
        """
        said = [
            _RULES_VERSION,
            self.installation,
            self.webhook,
            [
                [table, sorted(wanted.actions), wanted.fields, wanted.passthrough]
                for table, wanted in sorted(self.subscriptions.items())
            ],
            self.ordering,
            self.concurrency,
            self.max_events,
            self.max_bytes,
            self.client_code,
            self.format,
        ]
        return json.dumps(said)

    @classmethod
    def of(cls, described: str) -> Self | None:
        """A shape without a key that makes the same batches; None if it was described by other rules."""
        rules, *said = json.loads(described)
        if rules != _RULES_VERSION:
            return None
        installation, webhook, subscriptions, ordering, concurrency, max_events, max_bytes, client_code, layout = said
        return cls(
            webhook=webhook,
            installation=installation,
            subscriptions={
                table: Subscription(
                    frozenset(map(Action, actions)), None if fields is None else tuple(fields), passthrough
                )
                for table, actions, fields, passthrough in subscriptions
            },
            ordering=ordering,
            concurrency=concurrency,
            max_events=max_events,
            max_bytes=max_bytes,
            client_code=client_code,
            hmac_key=None,
            format=layout,
        )


def fingerprint_of(described: str) -> str:
    """That of the shape which is described so."""
    return hashlib.blake2b(described.encode(), digest_size=12).hexdigest()
