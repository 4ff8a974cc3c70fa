"""One daemon acts at a time, and a superseded one can neither write nor send."""

from __future__ import annotations

import asyncio
import time

import psycopg
import pytest

from cdc_hooks.changelog import lease as lease_room
from cdc_hooks.changelog.connection import connect
from cdc_hooks.changelog.journal import Journal
from cdc_hooks.changelog.lease import new_holder, release_lead, take_lead
from cdc_hooks.changelog.window import Progress
from cdc_hooks.errors import Superseded
from tests.db.logs import append, install, open_log, run


@pytest.fixture
def log_dsn(database: str) -> str:
    install(database)
    return database


def expire(dsn: str) -> None:
    """As if the leader had not been heard of for as long as its lease."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT setval('cdc_hooks.lease', 1)")


def test_only_one_leads_until_it_gives_the_lead_back(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            rival = await connect(log_dsn, "rival")
            assert await take_lead(rival, "rival") is None
            await log.journal.beat()
            assert await take_lead(rival, "rival") is None
            await release_lead(log.connection, log.lease)
            taken = await take_lead(rival, "rival")
            assert taken is not None
            assert taken.generation == log.lease.generation + 1
            await rival.close()

    run(main)


def test_of_many_rivals_one_wins(log_dsn: str) -> None:
    async def main() -> None:
        rivals = [await connect(log_dsn, "rival") for _ in range(8)]
        for _ in range(5):
            expire(log_dsn)
            won = [
                lease for lease in await asyncio.gather(*(take_lead(rival, new_holder()) for rival in rivals)) if lease
            ]
            assert len(won) == 1
        for rival in rivals:
            await rival.close()

    run(main)


def test_a_superseded_daemon_can_write_nothing(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as old:
            expire(log_dsn)
            async with open_log(log_dsn) as new:
                with psycopg.connect(log_dsn) as writer:
                    append(writer, 1)
                for forbidden in (
                    old.journal.look(),
                    old.journal.look(forced=True),
                    old.journal.record(1, Progress(0, 0, 0)),
                    old.journal.beat(),
                    old.journal.look_and_beat(60.0),
                ):
                    with pytest.raises(Superseded):
                        await forbidden
                await release_lead(old.connection, old.lease)  # takes nothing from the new one
                await new.journal.record(1, Progress(0, 0, 0))
                rows = await (await new.connection.execute("SELECT count(*) FROM cdc_hooks.progress")).fetchone()
                assert rows == (1,)

    run(main)


def test_a_takeover_waits_for_what_the_leader_is_just_committing(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as old:
            expire(log_dsn)
            rival = await connect(log_dsn, "rival")
            with psycopg.connect(log_dsn) as leader:
                leader.execute("SELECT cdc_hooks.hold_lead(%s)", (old.lease.generation,))
                takeover = asyncio.create_task(take_lead(rival, "rival"))
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                while (await (await old.connection.execute(waiting)).fetchone()) == (0,):
                    await asyncio.sleep(0)
                assert not takeover.done()
                leader.commit()
            assert await takeover is not None
            await rival.close()

    run(main)


def test_a_lease_that_was_not_renewed_forbids_to_send(log_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            log.lease.check()
            now = lease_room._clock()
            monkeypatch.setattr(lease_room, "_clock", lambda: now + lease_room.LEASE_S)
            with pytest.raises(Superseded):
                log.lease.check()
            await log.journal.beat()
            log.lease.check()

    run(main)


def test_the_lease_counts_from_before_the_heartbeat(log_dsn: str) -> None:
    """The server lets others lead no sooner than our clock stops us, however long the answer takes."""

    async def main() -> None:
        async with open_log(log_dsn) as log:
            before = lease_room._clock()
            await log.journal.beat()
            assert log.lease._valid_until <= lease_room._clock() + lease_room.LEASE_S
            assert log.lease._valid_until >= before + lease_room.LEASE_S
            (until_ms,) = await (await log.connection.execute("SELECT last_value FROM cdc_hooks.lease")).fetchone() or (
                0,
            )
            assert until_ms / 1000 >= log.lease._valid_until - lease_room._clock() + time.time() - 0.002

    run(main)


def test_progress_that_waits_is_written_together_and_the_newest_stands(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            journal = Journal(log.connection, log.lease)
            await asyncio.gather(*(journal.record(webhook, Progress(0, 0, n)) for n in range(10) for webhook in (1, 2)))
            rows = await (
                await log.connection.execute(
                    "SELECT webhook_id, count(*), (array_agg(after_id ORDER BY id DESC))[1]"
                    " FROM cdc_hooks.progress GROUP BY 1 ORDER BY 1"
                )
            ).fetchall()
            assert [(webhook, newest) for webhook, _, newest in rows] == [(1, 9), (2, 9)]
            assert sum(count for _, count, _ in rows) < 20

    run(main)


def test_after_a_lost_connection_the_same_process_leads_again_at_once(log_dsn: str) -> None:
    async def main() -> None:
        first, second = await connect(log_dsn, "test"), await connect(log_dsn, "test")
        led = await take_lead(first, "this process")
        again = await take_lead(second, "this process")
        assert led is not None
        assert again is not None
        assert again.generation > led.generation
        await first.close()
        await second.close()

    run(main)
