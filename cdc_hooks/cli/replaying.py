"""``replay``: a stretch of the change log sent again from this process, in its order, one request at a time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cdc_hooks import assembly, sql
from cdc_hooks.changelog import registry
from cdc_hooks.changelog.connection import connect, translated
from cdc_hooks.changelog.reader import Reader
from cdc_hooks.cli.connect import connected
from cdc_hooks.cli.controlling import event_id
from cdc_hooks.cli.delivery_options import time_of
from cdc_hooks.cli.output import confirmed
from cdc_hooks.cli.program import INTERRUPTED
from cdc_hooks.config.choosing import table_of, webhook_of
from cdc_hooks.deliver.policy import retry_after_s
from cdc_hooks.deliver.sign import sign
from cdc_hooks.errors import CdcHooksError, ConfigError, DatabaseError
from cdc_hooks.reach import Reach
from cdc_hooks.shape import lanes, render, route

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from cdc_hooks.changelog.window import Window
    from cdc_hooks.config import Config
    from cdc_hooks.deliver.post import Sender
    from cdc_hooks.model import Batch, Change, Message
    from cdc_hooks.shape import Shape

_SQL = sql.queries("control")
PAUSES_S = (1.0, 5.0, 15.0)
"""Between the attempts of one request; after them the replay stops, and says how to go on."""


class _Stopped(CdcHooksError):
    """A request did not get through."""


@dataclass(frozen=True)
class Wish:
    """Which changes are to be sent again: those written in [begin, end), of one table or of all that a webhook gets."""

    webhook: str
    begin: datetime
    end: datetime
    table: str | None
    after_id: int

    @classmethod
    def of(
        cls, config: Config, webhook: str, *, begin: str, end: str | None, table: str | None, after: str | None
    ) -> Self:
        """From what was given on the command line. Raises ConfigError."""
        webhook_of(config, webhook)
        now = datetime.now(UTC)
        first, last = time_of("--from", begin, now), now if end is None else time_of("--to", end, now)
        if first >= last:
            raise ConfigError(f"--from {begin} is not before {end or 'now'}", hint="give the earlier time with --from")
        return cls(
            webhook,
            first,
            last,
            None if table is None else table_of(config, webhook, table),
            0 if after is None else _after(config, after),
        )

    def takes(self, change: Change) -> bool:
        written = datetime.fromisoformat(change.at.decode())
        return (
            change.id > self.after_id
            and self.begin <= written < self.end
            and (self.table is None or change.table == self.table)
        )


def replay(config: Config, wish: Wish, rate: float | None, *, ask: bool) -> int:
    """Send them; the exit status. Ctrl-C ends it, and says how to go on."""
    replaying = _Replaying(config, wish, rate)
    try:
        return asyncio.run(replaying.run(ask=ask))
    except KeyboardInterrupt:
        click.echo(f"interrupted: {replaying.summary()}{replaying.how_to_go_on()}", err=True)
        return INTERRUPTED


class _Replaying:
    def __init__(self, config: Config, wish: Wish, rate: float | None) -> None:
        self._config = config
        self._wish = wish
        self._pause_s = 1 / rate if rate else 0.0
        self._sent = self._requests = 0
        self._last_event: str | None = None

    async def run(self, *, ask: bool) -> int:
        async with _connections(self._config) as connections:
            window = await self._window(connections[0])
            length = window.upto_id - max(window.after_id, self._wish.after_id)
            question = f"Send up to {length:,} changes of the log to {self._wish.webhook} again?"
            if ask and not confirmed(question):
                return 1
            epochs = await registry.epochs(connections[0])
            plan = assembly.Plan.of(
                self._wish.webhook,
                self._config.webhooks[self._wish.webhook],
                await registry.installation(connections[0]),
            )
            # In one lane: a replay is in the order of the log, and leaves the endpoint's strength to what is new.
            name = f"replay-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
            shape = replace(plan.shape, replay=name, concurrency=1)
            sender = plan.sender(Reach.of(self._config))
            try:
                async for batch in self._batches(Reader(*connections), window, shape):
                    await self._deliver(render(batch, shape, epochs), plan, sender)
            except (_Stopped, DatabaseError) as stopped:
                click.echo(f"stopped: {stopped.message}; {self.summary()}{self.how_to_go_on()}", err=True)
                return 1
            finally:
                await sender.aclose()
        click.echo(f"{name}: {self.summary()}")
        return 0

    def summary(self) -> str:
        return f"{_count(self._sent, 'change')} in {_count(self._requests, 'request')} arrived"

    def how_to_go_on(self) -> str:
        return f"; to go on: the same command with --after {self._last_event}" if self._last_event else ""

    async def _window(self, connection: AsyncConnection[Any]) -> Window:
        """What was committed in the time that is asked for, and a little more."""
        lo = await _tick(connection, "tick_at", self._wish.begin)
        hi = await _tick(connection, "tick_after", self._wish.end)
        oldest = await _row(connection, "oldest_kept")
        if lo is None or oldest is None or oldest[1] > self._wish.begin:
            since = f"from {oldest[1].astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC on" if oldest else "no changes"
            click.echo(f"note: the log has {since}; change_log.history says how long it is kept", err=True)
        reader = Reader(connection, connection)
        return await reader.open_window(0 if lo is None else lo, 0 if hi is None else hi)

    async def _batches(self, reader: Reader, window: Window, shape: Shape) -> AsyncIterator[Batch]:
        """Those of the changes that are asked for, in order; with a bar on the terminal that shows how far it is."""
        after_id = max(window.after_id, self._wish.after_id)
        with _bar() as bar:
            task = bar.add_task("replay", total=window.upto_id - after_id)
            while after_id < window.upto_id:
                page = await reader.page(window, after_id)
                changes = [change for change in page.changes if self._wish.takes(change)]
                batches = list(chain.from_iterable(lanes(route(changes, page.kinds, shape), shape)))
                for batch in batches:
                    yield batch
                    bar.advance(task, (page.to_id - after_id) / len(batches))
                if not batches:
                    bar.advance(task, page.to_id - after_id)
                after_id = page.to_id

    async def _deliver(self, message: Message, plan: assembly.Plan, sender: Sender) -> None:
        for pause in (*PAUSES_S, None):
            now = datetime.now(UTC).timestamp()
            outcome = await sender.post(message, sign(plan.keys, message.id, int(now), message.body))
            error = plan.error_of(message.body, outcome)
            if error is None:
                break
            if pause is None:
                raise _Stopped(f"{message.first_event} to {message.last_event}: {error}")
            asked = min(retry_after_s(outcome.retry_after, now), plan.policy.retry_after_cap_s)
            await asyncio.sleep(max(pause, asked))
        self._sent += message.event_count
        self._requests += 1
        self._last_event = message.last_event
        if self._pause_s:
            await asyncio.sleep(self._pause_s)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _after(config: Config, event: str) -> int:
    with connected(config.database.dsn.get_secret_value()) as connection:
        return event_id("--after", event, connection.execute(_SQL["epochs"].encode()))


def _bar() -> Progress:
    """On the terminal only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True)


@asynccontextmanager
async def _connections(config: Config) -> AsyncIterator[tuple[AsyncConnection[Any], AsyncConnection[Any]]]:
    dsn = config.database.dsn.get_secret_value()
    first = await connect(dsn, "replay")
    try:
        await registry.examine(first)
        second = await connect(dsn, "replay")
        try:
            yield first, second
        finally:
            await second.close()
    finally:
        await first.close()


async def _row(connection: AsyncConnection[Any], query: str, **parameters: Any) -> Any:
    with translated():
        return await (await connection.execute(_SQL[query].encode(), parameters)).fetchone()


async def _tick(connection: AsyncConnection[Any], query: str, at: datetime) -> int | None:
    row = await _row(connection, query, at=at)
    if row is None and query == "tick_after":
        raise DatabaseError("there is no tick in the change log", hint="run: cdc-hooks apply, as the database's owner")
    return None if row is None else int(row[0])
