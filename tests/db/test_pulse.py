"""A daemon that sleeps is woken, also by a writer that did not know that it had fallen asleep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import IsolationLevel

from cdc_hooks.changelog import pulse as pulse_room
from cdc_hooks.changelog.connection import connect
from cdc_hooks.changelog.listener import Listener
from cdc_hooks.changelog.pulse import Head, Pulse
from tests.db.logs import Log, append, install, open_log, run

RING = (
    "SELECT pg_notify('cdc_hooks', '') WHERE pg_sequence_last_value('cdc_hooks.doorbell') > 0"
    " AND pg_sequence_last_value('cdc_hooks.doorbell') > cdc_hooks.now_ms()"
)


@pytest.fixture
def log_dsn(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    install(database)
    # No fallback look: what is found was found by the bell or by the fence.
    monkeypatch.setattr(pulse_room, "BEAT_S", 3600.0)
    monkeypatch.setattr(pulse_room, "AWAKE_S", 0.01)
    return database


@dataclass
class Daemon:
    log: Log
    head: Head
    listener: Listener

    async def doorbell(self) -> int:
        row = await (await self.log.reader._live.execute("SELECT last_value FROM cdc_hooks.doorbell")).fetchone()
        assert row is not None
        return int(row[0])

    async def asleep(self) -> None:
        while not await self.doorbell():
            await asyncio.sleep(0)


@asynccontextmanager
async def running(dsn: str, *, doorbell: bool = True) -> AsyncIterator[Daemon]:
    async with open_log(dsn) as log:
        ear = await connect(dsn, "listener")
        listener = Listener(ear)
        await listener.begin()
        head = Head(0)
        pulse = Pulse(log.journal, head, listener.bell, doorbell=doorbell)
        tasks = [asyncio.create_task(pulse.run()), asyncio.create_task(listener.run())]
        try:
            yield Daemon(log, head, listener)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await ear.close()


def test_a_ringing_writer_wakes_it(log_dsn: str) -> None:
    async def main() -> None:
        async with running(log_dsn) as daemon:
            for expected in range(1, 4):
                waiting = asyncio.create_task(daemon.head.beyond(expected - 1))
                await daemon.asleep()
                with psycopg.connect(log_dsn) as writer:
                    append(writer, expected)
                    writer.execute(RING)
                assert await waiting == expected

    run(main)


@pytest.mark.parametrize("level", list(IsolationLevel))
def test_a_writer_that_saw_it_awake_is_found_without_ringing(log_dsn: str, level: IsolationLevel) -> None:
    async def main() -> None:
        async with running(log_dsn) as daemon:
            with psycopg.connect(log_dsn) as writer:
                writer.isolation_level = level
                append(writer, 1)  # and read the doorbell before it was set
                waiting = asyncio.create_task(daemon.head.beyond(0))
                await daemon.asleep()
                writer.commit()
                assert await waiting == 1

    run(main)


def test_a_serializable_writer_sees_the_doorbell_as_it_is_now(log_dsn: str) -> None:
    async def main() -> None:
        async with running(log_dsn) as daemon:
            with psycopg.connect(log_dsn) as writer:
                writer.isolation_level = IsolationLevel.SERIALIZABLE
                writer.execute("SELECT 1")  # takes its snapshot while the daemon is awake
                waiting = asyncio.create_task(daemon.head.beyond(0))
                await daemon.asleep()
                append(writer, 1)
                writer.execute(RING)
                writer.commit()
                assert await waiting == 1

    run(main)


def test_no_tick_is_made_while_nobody_wants_one(log_dsn: str) -> None:
    async def main() -> None:
        async with running(log_dsn) as daemon:
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
                append(writer, 2)
            window = await asyncio.wait_for(daemon.head.beyond(0), 10)
            assert window == 1
            assert daemon.head.window is not None
            assert [change.key for change in await daemon.log.read(daemon.head.window)] == [b"1", b"2"]

    run(main)


def test_without_a_doorbell_it_polls_and_never_asks_to_be_rung(log_dsn: str) -> None:
    async def main() -> None:
        async with running(log_dsn, doorbell=False) as daemon:
            waiting = asyncio.create_task(daemon.head.beyond(0))
            await asyncio.sleep(0.1)  # longer than it would stay awake
            assert await daemon.doorbell() == 0
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
            assert await waiting == 1

    run(main)


def test_the_bell_is_deaf_to_nothing_after_a_long_while(log_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doorbell's deadline is renewed by the beat, so that it does not run out while the daemon sleeps."""
    monkeypatch.setattr(pulse_room, "BEAT_S", 0.05)

    async def main() -> None:
        async with running(log_dsn) as daemon:
            waiting = asyncio.create_task(daemon.head.beyond(0))
            await daemon.asleep()
            first = await daemon.doorbell()
            while await daemon.doorbell() <= first:
                await asyncio.sleep(0)
            waiting.cancel()

    run(main)
