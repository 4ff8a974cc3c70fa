"""For ``check``: whether requests would be made at all, as far as addresses decide it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yarl import URL

from cdc_hooks.addresses import literal
from cdc_hooks.deliver.faults import NoConnection, words
from cdc_hooks.deliver.resolve import Lookups, Resolver, vetted
from cdc_hooks.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cdc_hooks.config import Config
    from cdc_hooks.deliver.proxy import Proxy


@dataclass(frozen=True)
class Unreachable:
    """Who would not be connected to now. ``refused``: not before the configuration changes."""

    subject: str
    why: str
    refused: bool
    host: str


@dataclass(frozen=True)
class _Target:
    """``within_s``: how long its name is waited for."""

    subject: str
    host: str
    port: int
    within_s: float
    resolver: Resolver


def unreachable(config: Config) -> Sequence[Unreachable]:
    """All names are looked up at the same time, and waited for as long as one would wait to be connected."""
    return asyncio.run(_all(config))


async def _all(config: Config) -> list[Unreachable]:
    found = await asyncio.gather(*map(_try, _targets(config)))
    return [one for one in found if one is not None]


def _targets(config: Config) -> Iterator[_Target]:
    reach, notify = Reach.of(config), config.notify
    urls = [(f"webhook {name}", one.url, one.timeout, reach.proxy_of(one)) for name, one in config.webhooks.items()]
    if notify.webhook is not None:
        urls.append(("notify.webhook", notify.webhook.url, notify.webhook.timeout, reach.proxy))
    for subject, text, timeout, proxy in urls:
        url = URL(text)
        host, port = url.raw_host or "", url.port or 0
        if not _left_to(proxy, host):
            yield _Target(subject, host, port, timeout.connect, vetted(reach.rules, Lookups()))
    if notify.email is not None:
        # Mail servers are often on this host or beside it: any address will do.
        yield _Target("notify.email", notify.email.host, notify.email.usual_port, notify.email.timeout, Lookups())


def _left_to(proxy: Proxy | None, host: str) -> bool:
    """Whether the proxy resolves the name, and refuses it."""
    return proxy is not None and literal(host) is None


async def _try(target: _Target) -> Unreachable | None:
    host = target.host
    try:
        async with asyncio.timeout(target.within_s):
            await target.resolver(host, target.port)
    except NoConnection as refused:
        return Unreachable(target.subject, refused.detail, refused=True, host=host)
    except TimeoutError:
        return Unreachable(
            target.subject, f"{host} was not resolved within {target.within_s:g} s", refused=False, host=host
        )
    except (OSError, UnicodeError) as error:
        return Unreachable(target.subject, f"{host} cannot be resolved now: {words(error)}", refused=False, host=host)
    return None
