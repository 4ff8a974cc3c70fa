"""From a row to a message as the daemon would make it, and one attempt to deliver it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cdc_hooks.assembly import Plan
from cdc_hooks.config.choosing import table_of, webhook_of
from cdc_hooks.deliver.sign import sign
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action, Change
from cdc_hooks.reach import Reach
from cdc_hooks.shape import lanes, render, route

if TYPE_CHECKING:
    from cdc_hooks.config import Config
    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.model import Message
    from cdc_hooks.trial.given import Row

HEADER = ("cdc-hooks-test", "true")
"""Marks a request as a test. No webhook can be configured to send it with real ones."""
EPOCH = 0
"""Of the event ids of tests. Real ones begin with 1."""
# Real messages hold the UUID of the installation in what their ids are made of.
_INSTALLATION = "test"


@dataclass(frozen=True)
class Trial:
    """A message that is ready to be sent as a test."""

    plan: Plan
    reach: Reach
    message: Message
    events: tuple[str, ...]
    """The ids of its events."""


def choose(config: Config, webhook: str, table: str | None, action: Action | None) -> tuple[str, Action]:
    """The table and the action to try: those that are asked for, else the webhook's first. ConfigError."""
    tables = webhook_of(config, webhook).tables
    chosen = next(iter(tables)) if table is None else table_of(config, webhook, table)
    actions = tables[chosen].actions
    if action is not None and action not in actions:
        raise ConfigError(
            f"webhook {webhook} gets no {action} of table {chosen}", hint=f"it gets: {', '.join(actions)}"
        )
    return chosen, action or actions[0]


def prepare(config: Config, webhook: str, table: str, action: Action, row: Row, *, count: int, now: float) -> Trial:
    """A batch of so many changes of one row, or as many of them as the webhook's limits let into one request.

    ``now``, in seconds since 1970, is the time of the changes, and makes their ids: those of two tests differ, so that
    a receiver that dedupes takes the second one, too.
    """
    plan = Plan.of(webhook, config.webhooks[webhook], _INSTALLATION)
    first = int(now * 1_000_000)
    at = datetime.fromtimestamp(now, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z").encode()
    changes = [
        Change(first + number, table, action, row.key, None, at, row.data, row.truncated) for number in range(count)
    ]
    batch = lanes(route(changes, [(table, action)], plan.shape), plan.shape)[0][0]
    message = render(batch, plan.shape, lambda _id: EPOCH)
    return Trial(plan, Reach.of(config), message, tuple(f"{EPOCH}-{change.id}" for change in batch.changes))


async def attempt(trial: Trial, tell: Callable[[bytes], None], *, dry_run: bool) -> Outcome | None:
    """Send it once, after ``tell`` was told the head of the request (secrets included). ``dry_run``: tell it only."""
    sender, message = trial.plan.sender(trial.reach), trial.message
    try:
        headers = sign(trial.plan.keys, message.id, int(time.time()), message.body) | dict([HEADER])
        tell(sender.head(message.body, headers))
        return None if dry_run else await sender.post(message, headers)
    finally:
        await sender.aclose()
