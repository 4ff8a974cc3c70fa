"""From the configuration to the parts of a running webhook."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from cdc_hooks.capture import Wanted
from cdc_hooks.config import Ordering, captures
from cdc_hooks.config.redact import show_url
from cdc_hooks.deliver import acknowledgement
from cdc_hooks.deliver.breaker import BreakerRules
from cdc_hooks.deliver.gate import GateRules
from cdc_hooks.deliver.ledger import Endpoint
from cdc_hooks.deliver.policy import Policy, classify
from cdc_hooks.deliver.post import Sender
from cdc_hooks.deliver.resolve import Lookups, vetted
from cdc_hooks.deliver.sign import Key, fingerprint, hmac_key
from cdc_hooks.reach import Reach
from cdc_hooks.shape import Shape, Subscription

if TYPE_CHECKING:
    from cdc_hooks.config import Config, TableCapture, Webhook
    from cdc_hooks.deliver.outcome import Outcome


@dataclass(frozen=True)
class Plan:
    """One webhook, ready to be run."""

    webhook: Webhook
    shape: Shape
    policy: Policy
    gate: GateRules
    keys: tuple[Key, ...] = field(repr=False)
    max_wait_s: float

    @classmethod
    def of(cls, name: str, webhook: Webhook, installation: str) -> Self:
        keys = webhook.signing_keys
        subscriptions = {
            # Never passed through unparsed where there is a list of fields: the log may still hold rows from before
            # the capture was narrowed to it.
            table: Subscription(frozenset(wish.actions), wish.fields, passthrough=wish.fields is None)
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
            hmac_key=hmac_key(keys),
        )
        return cls(webhook, shape, _policy(webhook), _gate_rules(webhook), keys, webhook.batch.max_wait)

    def endpoint(self) -> Endpoint:
        """What the ledger says its deliveries are made with."""
        webhook = self.webhook
        return Endpoint(
            show_url(str(webhook.url)),
            tuple(fingerprint(key) for key in self.keys),
            {table: wish.fields for table, wish in webhook.tables.items()},
            tuple(webhook.request_headers()),
        )

    def error_of(self, body: bytes, outcome: Outcome) -> str | None:
        """Why an attempt to deliver this body is no success, for who sends it by hand; None if it is one."""
        if outcome.status not in self.policy.success:
            return classify(outcome)
        if not self.webhook.partial_ack:
            return None
        failed, events = acknowledgement.failed_events(outcome.body, body, complete=outcome.complete)
        return f"{classify(outcome)}, but {failed} of {events} events failed" if failed else None

    def sender(self, reach: Reach) -> Sender:
        """A sender with connections of its own: one webhook's receiver cannot use up another's."""
        webhook = self.webhook
        return Sender(
            str(webhook.url),
            connect_timeout_s=webhook.timeout.connect,
            total_timeout_s=webhook.timeout.total,
            ca_file=webhook.ca_file,
            client_cert_file=webhook.client_cert_file,
            client_key_file=webhook.client_key_file,
            headers=webhook.request_headers(),
            max_connections=webhook.concurrency,
            resolver=vetted(reach.rules, Lookups()),
            proxy=reach.proxy_of(webhook),
            answer_bytes=acknowledgement.longest(webhook.batch.max_events) if webhook.partial_ack else None,
        )


def notice_sender(config: Config) -> Sender:
    """A sender to notify.webhook, which must be configured."""
    webhook, reach = config.notify.webhook, Reach.of(config)
    assert webhook is not None
    return Sender(
        str(webhook.url),
        connect_timeout_s=webhook.timeout.connect,
        total_timeout_s=webhook.timeout.total,
        ca_file=webhook.ca_file,
        headers=webhook.headers,
        resolver=vetted(reach.rules, Lookups()),
        proxy=reach.proxy,
    )


def _policy(webhook: Webhook) -> Policy:
    retry, breaker = webhook.retry, webhook.breaker
    return Policy(
        schedule_s=retry.schedule,
        max_attempts=retry.max_attempts,
        jitter=retry.jitter,
        retry_after_cap_s=retry.retry_after_cap,
        success=webhook.success_statuses,
        on_exhausted=retry.on_exhausted.value,
        bisect=webhook.bisect,
        patience_s=None if breaker is None else breaker.longest_pause,
    )


def _gate_rules(webhook: Webhook) -> GateRules:
    breaker = webhook.breaker
    rules = GateRules(
        concurrency=1 if webhook.ordering is Ordering.STRICT else webhook.concurrency,
        rate=webhook.rate_limit,
        probe_paused_s=webhook.probe_paused,
    )
    if breaker is None:
        return rules
    opens = BreakerRules(breaker.failures, breaker.rate, breaker.pause, breaker.longest_pause)
    return replace(rules, breaker=opens, drain_rate=breaker.drain_rate)


def wanted(config: Config) -> list[Wanted]:
    """What the webhooks want captured, table by table."""
    return [_wanted(one) for one in captures(config)]


def _wanted(one: TableCapture) -> Wanted:
    return Wanted(
        table=one.table,
        actions=one.actions,
        columns=one.columns,
        named=one.named,
        exclude=one.rules.exclude,
        key=one.rules.key,
        when=one.rules.when,
        level=one.rules.level.value,
        max_row_bytes=one.rules.max_row_bytes,
    )
