"""Space comes back only from what everyone has acknowledged and nobody may still write to."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from cdc_hooks.changelog.housekeeping import Housekeeper
from cdc_hooks.changelog.registry import progress_of, register
from cdc_hooks.changelog.window import SEGMENT_BITS, Progress
from tests.db.logs import Log, append, install, open_log, run


@pytest.fixture
def log_dsn(database: str) -> str:
    install(database)
    return database


def leave_segment(dsn: str, segment: int) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT setval('cdc_hooks.change_id', %s)", (segment << SEGMENT_BITS,))


async def count(connection: AsyncConnection[Any]) -> int:
    row = await (await connection.execute("SELECT count(*) FROM cdc_hooks.change")).fetchone()
    assert row is not None
    return int(row[0])


async def acknowledge(log: Log, webhook_id: int) -> None:
    look = await log.journal.look(forced=True)
    assert look.window is not None
    await log.journal.record(webhook_id, Progress(look.window.hi_tick, look.window.hi_tick, 0))


def test_a_partition_is_emptied_when_all_webhooks_are_past_it(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"first": "now", "second": "now"})
            keeper = Housekeeper(log.connection, log.lease, history_s=0.0)
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
            assert await keeper.reclaim() == []  # the segment is the current one
            leave_segment(log_dsn, 3)
            assert await keeper.reclaim() == []  # no tick is past it
            await acknowledge(log, ids["first"])
            assert await keeper.reclaim() == []  # the second webhook has not got it
            await acknowledge(log, ids["second"])
            assert await count(log.connection) == 1
            assert await keeper.reclaim() == [0]
            assert await count(log.connection) == 0

    run(main)


def test_history_is_kept(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"only": "now"})
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
            leave_segment(log_dsn, 3)
            await acknowledge(log, ids["only"])
            assert await Housekeeper(log.connection, log.lease, history_s=3600.0).reclaim() == []
            assert await Housekeeper(log.connection, log.lease, history_s=0.0).reclaim() == [0]

    run(main)


def test_a_partition_with_an_open_transaction_is_kept(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"only": "now"})
            keeper = Housekeeper(log.connection, log.lease, history_s=0.0)
            with psycopg.connect(log_dsn) as slow:
                append(slow, 1)
                with psycopg.connect(log_dsn, autocommit=True) as writer:
                    append(writer, 2)
                leave_segment(log_dsn, 3)
                await acknowledge(log, ids["only"])
                assert await keeper.reclaim() == []
                slow.commit()
                assert await keeper.reclaim() == []  # committed now, and not acknowledged
                made = (await log.journal.look()).window
                assert made is not None
                assert [change.key for change in await log.read(made)] == [b"1"]
                await acknowledge(log, ids["only"])
                assert await keeper.reclaim() == [0]

    run(main)


def test_an_unrelated_open_transaction_keeps_nothing(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"only": "now"})
            with psycopg.connect(log_dsn) as held:
                held.execute("SELECT pg_current_xact_id()")
                with psycopg.connect(log_dsn, autocommit=True) as writer:
                    append(writer, 1)
                leave_segment(log_dsn, 3)
                await acknowledge(log, ids["only"])
                assert await Housekeeper(log.connection, log.lease, history_s=0.0).reclaim() == [0]

    run(main)


def test_a_retired_webhook_holds_nothing_back_and_learns_of_its_gap(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"gone": "now", "stays": "now"})
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
                append(writer, 2)
            await register(log.connection, log.journal, {"stays": "now"})
            leave_segment(log_dsn, 3)
            await acknowledge(log, ids["stays"])
            assert await Housekeeper(log.connection, log.lease, history_s=0.0).reclaim() == [0]
            again = await register(log.connection, log.journal, {"gone": "now", "stays": "now"})
            assert again == ids
            gaps = await (await log.connection.execute("SELECT webhook_id, after_id FROM cdc_hooks.gap")).fetchall()
            assert gaps == [(ids["gone"], 0)]

    run(main)


def test_a_webhook_that_returns_in_time_has_no_gap(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            await register(log.connection, log.journal, {"gone": "now"})
            await register(log.connection, log.journal, {})
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
            await register(log.connection, log.journal, {"gone": "now"})
            assert await (await log.connection.execute("SELECT * FROM cdc_hooks.gap")).fetchall() == []

    run(main)


def test_where_a_new_webhook_begins(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
            ids = await register(log.connection, log.journal, {"late": "now", "all": "earliest"})
            now = await progress_of(log.connection, ids["late"])
            earliest = await progress_of(log.connection, ids["all"])
            assert now is not None
            assert earliest is not None
            head = now.lo_tick
            window = await log.reader.open_window(earliest.lo_tick, head)
            assert [change.key for change in await log.read(window)] == [b"1"]
            assert (await log.journal.look()).window is None

    run(main)


def test_trimming_keeps_what_webhooks_stand_on(log_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_hooks.changelog.housekeeping.KEPT_TICKS", 10)

    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"slow": "now", "fast": "now"})
            slow = await progress_of(log.connection, ids["slow"])
            keeper = Housekeeper(log.connection, log.lease, history_s=0.0)
            for _ in range(3):
                for _ in range(20):
                    await acknowledge(log, ids["fast"])
                await keeper.trim()
            ticks = await (await log.connection.execute("SELECT id FROM cdc_hooks.tick ORDER BY id")).fetchall()
            assert slow is not None
            assert [row[0] for row in ticks][:2] == [0, slow.lo_tick]
            assert len(ticks) == 12
            assert await progress_of(log.connection, ids["slow"]) == slow
            rows = await (await log.connection.execute("SELECT count(*) FROM cdc_hooks.progress")).fetchone()
            assert rows == (2,)

    run(main)


def test_dropping_the_oldest_records_the_gap_of_those_behind(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"behind": "now", "ahead": "now"})
            keeper = Housekeeper(log.connection, log.lease, history_s=3600.0)
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
                append(writer, 2)
                assert await keeper.drop_oldest() is None  # it is being written to
                leave_segment(log_dsn, 3)
                append(writer, 3)
            await acknowledge(log, ids["ahead"])
            assert await keeper.drop_oldest() == 0
            assert await count(log.connection) == 1
            (gap,) = await log.journal.untold_gaps(ids["behind"])
            assert (gap.after_id, gap.upto_id) == (0, 2)
            assert await log.journal.untold_gaps(ids["ahead"]) == []
            await log.journal.told_gap(gap)
            assert await log.journal.untold_gaps(ids["behind"]) == []
            assert await keeper.drop_oldest() is None

    run(main)


def test_what_every_webhook_has_got_is_no_loss_but_of_history(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"behind": "now", "ahead": "now"})
            keeper = Housekeeper(log.connection, log.lease, history_s=3600.0)
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
                leave_segment(log_dsn, 3)
                append(writer, 2)
            await acknowledge(log, ids["ahead"])
            assert await keeper.cut_history() is None  # one is behind
            await acknowledge(log, ids["behind"])
            assert await keeper.reclaim() == []  # it is history
            assert await keeper.cut_history() == 0
            assert await keeper.cut_history() is None
            assert await log.journal.untold_gaps(ids["behind"]) == []

    run(main)


def test_space_comes_back_before_the_ring_is_round_whatever_the_history(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"only": "now"})
            keeper = Housekeeper(log.connection, log.lease, history_s=86_400.0)
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                for segment in range(1, 41):
                    leave_segment(log_dsn, segment)
                    append(writer, segment)
                    await acknowledge(log, ids["only"])
                    await keeper.reclaim()
            assert await count(log.connection) <= 13

    run(main)


def test_the_gap_names_a_late_change_that_was_dropped(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            ids = await register(log.connection, log.journal, {"only": "now"})
            with psycopg.connect(log_dsn) as slow, psycopg.connect(log_dsn, autocommit=True) as writer:
                append(slow, 1)
                append(writer, 2)
                await acknowledge(log, ids["only"])
                slow.commit()
            leave_segment(log_dsn, 3)
            keeper = Housekeeper(log.connection, log.lease, history_s=0.0)
            assert await keeper.drop_oldest() == 0
            (gap,) = await log.journal.untold_gaps(ids["only"])
            assert (gap.after_id, gap.upto_id) == (0, 1)

    run(main)
