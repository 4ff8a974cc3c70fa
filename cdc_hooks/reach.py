"""Where requests may go and by which way: what all webhooks share of it, from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from cdc_hooks.addresses import Rules
from cdc_hooks.config.values import NO_PROXY
from cdc_hooks.deliver.proxy import Proxy

if TYPE_CHECKING:
    from cdc_hooks.config import Basic, Config, Webhook


@dataclass(frozen=True)
class Reach:
    """``proxy``: that of webhooks which say nothing of one."""

    rules: Rules
    proxy: Proxy | None

    @classmethod
    def of(cls, config: Config) -> Self:
        network = config.network
        return cls(Rules.of(network.allow, config.metrics.listen), _proxy(network.proxy, network.proxy_auth))

    def proxy_of(self, webhook: Webhook) -> Proxy | None:
        """The proxy that a webhook's requests go through. Credentials go to none but the one they stand beside."""
        return self.proxy if webhook.proxy is None else _proxy(webhook.proxy, webhook.proxy_auth)


def _proxy(url: str | None, auth: Basic | None) -> Proxy | None:
    if url is None or url == NO_PROXY:
        return None
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Proxy(parts.hostname, parts.port, auth.authorization() if auth else "")
