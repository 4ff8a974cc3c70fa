"""For ``check``: whether requests would be made at all, as far as addresses decide it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yarl import URL

from cdc_hooks.addresses import literal
from cdc_hooks.deliver.faults import NoConnection, words
from cdc_hooks.deliver.resolve import Lookups, vetted
from cdc_hooks.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_hooks.config import Config, Webhook


@dataclass(frozen=True)
class Unreachable:
    """A webhook whose requests would not be made now. ``refused``: not before the configuration changes."""

    webhook: str
    why: str
    refused: bool
    host: str


def unreachable(config: Config) -> Sequence[Unreachable]:
    """All names are looked up at the same time, and waited for as long as the webhook would wait to be connected."""
    return asyncio.run(_all(config))


async def _all(config: Config) -> list[Unreachable]:
    reach = Reach.of(config)
    found = await asyncio.gather(*(_try(name, webhook, reach) for name, webhook in config.webhooks.items()))
    return [one for one in found if one is not None]


async def _try(name: str, webhook: Webhook, reach: Reach) -> Unreachable | None:
    url = URL(webhook.url)
    host, port = url.raw_host or "", url.port or 0
    if reach.proxy_of(webhook) is not None and literal(host) is None:
        return None  # for the proxy to resolve, and to refuse
    try:
        async with asyncio.timeout(webhook.timeout.connect):
            await vetted(reach.rules, Lookups())(host, port)
    except NoConnection as refused:
        return Unreachable(name, refused.detail, refused=True, host=host)
    except TimeoutError:
        return Unreachable(
            name, f"{host} was not resolved within {webhook.timeout.connect:g} s", refused=False, host=host
        )
    except (OSError, UnicodeError) as error:
        return Unreachable(name, f"{host} cannot be resolved now: {words(error)}", refused=False, host=host)
    return None
