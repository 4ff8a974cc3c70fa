"""From the configuration to the parts of a running webhook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cdc_hooks.config import captures
from cdc_hooks.deliver.policy import Policy
from cdc_hooks.deliver.post import Sender
from cdc_hooks.shape import Shape, Subscription

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdc_hooks.config import Config, Webhook


@dataclass(frozen=True)
class Plan:
    """One webhook, ready to be run."""

    webhook: Webhook
    shape: Shape
    policy: Policy
    keys: tuple[bytes, ...]
    max_wait_s: float

    @classmethod
    def of(cls, name: str, webhook: Webhook, names: Mapping[str, str], installation: str) -> Self:
        """``names``: the configuration's names of tables, each with the name that the log has."""
        keys = webhook.signing_keys
        subscriptions = {
            # Never passed through unparsed where there is a list of fields: the log may still hold rows from before
            # the capture was narrowed to it.
            names[table]: Subscription(frozenset(wish.actions), wish.fields, passthrough=wish.fields is None)
            for table, wish in webhook.tables.items()
        }
        shape = Shape(
            webhook=name,
            installation=installation,
            subscriptions=subscriptions,
            ordering=webhook.ordering.value,
            concurrency=webhook.concurrency,
            max_events=webhook.batch.max_events,
            max_bytes=webhook.batch.max_bytes,
            client_code=webhook.client_code,
            hmac_key=keys[0],
        )
        policy = Policy(webhook.retry.schedule, webhook.retry.jitter, webhook.retry.retry_after_cap)
        return cls(webhook, shape, policy, keys, webhook.batch.max_wait)

    def sender(self) -> Sender:
        """A sender with connections of its own: one webhook's receiver cannot use up another's."""
        webhook = self.webhook
        return Sender(
            str(webhook.url),
            connect_timeout_s=webhook.timeout.connect,
            total_timeout_s=webhook.timeout.total,
            ca_file=None if webhook.ca_file is None else Path(webhook.ca_file),
            headers=webhook.request_headers(),
            max_connections=webhook.concurrency,
        )


def tables_of(config: Config) -> list[str]:
    """The tables that some webhook wants, by the configuration's names."""
    return [capture.table for capture in captures(config)]


async def audit(connection: object, config: Config) -> list[object]:
    return []


def publish(findings: list[object], config: Config, metrics: object) -> None:
    return
