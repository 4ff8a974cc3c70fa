"""A worker's rounds, with all but the receiver real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from cdc_hooks.changelog.pulse import Head
from cdc_hooks.changelog.registry import newest_tick, progress_of, register
from cdc_hooks.changelog.window import Progress
from cdc_hooks.deliver.worker import Worker
from cdc_hooks.model import Action, Batch, Message
from cdc_hooks.shape import Shape, Subscription, render
from tests.db.logs import Log, append, install, open_log, run

SHAPE = Shape(
    webhook="order-sync",
    installation="7b0c4a52-5a3e-4c0e-9a5c-0d2f5d7f3c11",
    subscriptions={"public.orders": Subscription(frozenset(Action), None, passthrough=True)},
    ordering="key",
    concurrency=1,
    max_events=100,
    max_bytes=256 * 1024,
    client_code=None,
    hmac_key=b"a key of some length",
)


@pytest.fixture
def log_dsn(database: str) -> str:
    install(database)
    return database


@dataclass
class Collected:
    """Takes each message as delivered."""

    messages: list[Message] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        self.came.set()

    async def deliver(self, batch: Batch) -> bool:
        self.messages.append(render(batch, SHAPE, lambda _: 1))
        self.came.set()
        return True

    async def forget_unfinished(self, but: set[str]) -> None:
        """Nothing was."""

    recoveries = 0

    def caught_up(self) -> None:
        """Good."""

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(message.first_event, message.last_event) for message in self.messages]


@dataclass
class Scene:
    log: Log
    webhook_id: int
    head: Head
    collected: Collected
    worker: Worker

    async def tick(self) -> None:
        window = (await self.log.journal.look()).window
        assert window is not None
        self.head.move(window)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.collected.came.clear()
            await self.collected.came.wait()


@asynccontextmanager
async def scene(dsn: str, *, max_wait_s: float = 0.0) -> AsyncIterator[Scene]:
    async with open_log(dsn) as log:
        ids = await register(log.connection, log.journal, {"order-sync": "now"})
        progress = await progress_of(log.connection, ids["order-sync"])
        assert progress is not None
        head = Head(await newest_tick(log.connection))
        collected = Collected()
        worker = Worker(
            ids["order-sync"], progress, SHAPE, collected,  # type: ignore[arg-type]
            journal=log.journal, reader=log.reader, head=head, epoch_of=lambda _: 1, on_gap=lambda _: None,
            max_wait_s=max_wait_s,
        )  # fmt: skip
        yield Scene(log, ids["order-sync"], head, collected, worker)


def test_a_long_transaction_that_ends_while_a_batch_gathers_is_in_it(log_dsn: str) -> None:
    async def main() -> None:
        with psycopg.connect(log_dsn) as slow, psycopg.connect(log_dsn, autocommit=True) as writer:
            append(slow, 1)
            append(writer, 2)
            # The webhook's place is a tick at which the slow transaction runs already, and has taken its id.
            async with scene(log_dsn, max_wait_s=30.0) as here:
                append(writer, 3)
                running = asyncio.create_task(here.worker.run())
                await here.tick()
                for key in range(4, 60):
                    append(writer, key)
                await here.tick()
                while here.worker._window is None or here.worker._window.hi_tick != here.head.tick:
                    await asyncio.sleep(0)  # it has read what there is, and gathers
                slow.commit()
                await here.tick()
                for key in range(60, 110):
                    append(writer, key)
                await here.tick()
                await here.until(lambda: sum(message.event_count for message in here.collected.messages) >= 108)
                here.worker.stop()
                await running
                assert here.collected.messages[0].first_event == "1-1"
                assert here.worker.progress.lo_tick == here.head.tick

    run(main)


@pytest.mark.parametrize("loops", range(6))
def test_it_stops_at_once_whatever_it_is_about(log_dsn: str, loops: int) -> None:
    async def main() -> None:
        async with scene(log_dsn) as here:
            running = asyncio.create_task(here.worker.run())
            for _ in range(loops):
                await asyncio.sleep(0)
            here.worker.stop()
            await asyncio.wait_for(running, 10)

    run(main)


def test_what_is_acknowledged_is_recorded_when_it_stops(log_dsn: str) -> None:
    async def main() -> None:
        async with scene(log_dsn) as here:
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
            running = asyncio.create_task(here.worker.run())
            await here.tick()
            await here.until(lambda: bool(here.collected.messages))
            here.worker.stop()
            await running
            recorded = await progress_of(here.log.connection, here.webhook_id)
            assert recorded == here.worker.progress == Progress(here.head.tick, here.head.tick, 0)

    run(main)


def test_a_window_that_is_being_read_keeps_its_ticks(log_dsn: str) -> None:
    """The worker is behind: the window from its place to the head is recorded before it is read."""

    async def main() -> None:
        async with scene(log_dsn) as here:
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                for key in (1, 2):
                    append(writer, key)
                    await here.tick()
            running = asyncio.create_task(here.worker.run())
            await here.until(lambda: bool(here.collected.messages))
            here.worker.stop()
            await running
            query = "SELECT count(*) FROM cdc_hooks.progress WHERE lo_tick < hi_tick AND hi_tick = %s"
            rows = await (await here.log.connection.execute(query, (here.head.tick,))).fetchone()
            assert rows is not None
            assert rows[0] >= 1
            assert here.collected.events == [("1-1", "1-2")]

    run(main)
