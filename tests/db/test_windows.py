"""Ticks cut the log into windows: each committed change is in exactly one, for ever, in order."""

from __future__ import annotations

import asyncio
import random
import threading

import psycopg
import pytest
from psycopg import IsolationLevel

from cdc_hooks.changelog import window
from cdc_hooks.changelog.window import segment_end
from tests.db.logs import Log, append, install, open_log, run


@pytest.fixture
def log_dsn(database: str) -> str:
    install(database)
    return database


def test_changes_are_in_the_window_in_which_they_committed(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn) as early, psycopg.connect(log_dsn) as late:
                append(late, 1)  # takes id 1, commits last
                append(early, 2)
                early.commit()
                first = await log.window()
                assert first is not None
                assert [change.id for change in await log.read(first)] == [2]
                append(early, 3)
                late.commit()
                early.commit()
                second = await log.window()
                assert second is not None
                assert second.late
                assert [change.id for change in await log.read(second)] == [1, 3]
                assert [change.id for change in await log.read(first)] == [2]
            assert await log.window() is None

    run(main)


def test_a_merged_window_holds_the_same_changes_ordered_by_id(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn) as early, psycopg.connect(log_dsn) as late:
                append(late, 1)
                append(early, 2)
                early.commit()
                first = await log.window()
                late.commit()
                append(early, 3)
                early.commit()
                second = await log.window()
                assert first is not None
                assert second is not None
                merged = await log.reader.open_window(first.lo_tick, second.hi_tick)
                assert [change.id for change in await log.read(merged)] == [1, 2, 3]

    run(main)


def test_nothing_of_a_rollback_a_savepoint_or_a_running_transaction(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn) as writer, psycopg.connect(log_dsn) as running:
                append(running, 9)
                append(writer, 1)
                writer.rollback()
                with writer.transaction():
                    append(writer, 2)
                    with pytest.raises(ZeroDivisionError), writer.transaction():
                        append(writer, 3)
                        raise ZeroDivisionError
                    with writer.transaction():
                        append(writer, 4)
                first = await log.window()
                assert first is not None
                assert [change.key for change in await log.read(first)] == [b"2", b"4"]
                assert await log.window() is None
                running.commit()
                second = await log.window()
                assert second is not None
                assert [change.key for change in await log.read(second)] == [b"9"]

    run(main)


def test_a_tick_is_not_made_for_what_is_not_committed(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn) as running:
                append(running, 1)
                assert await log.window() is None
                running.rollback()
            assert await log.window() is None

    run(main)


def test_a_long_transaction_delays_only_itself_and_arrives_once(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn) as long, psycopg.connect(log_dsn) as short:
                append(long, 0)
                for key in range(1, 8000):  # farther than a look looks for itself
                    append(short, key)
                    if key % 1000 == 0:
                        short.commit()
                        now = await log.window()
                        assert now is not None
                        assert len(await log.read(now)) == 1000
                short.commit()
                assert len(await log.read(await _some(log))) == 999
                append(long, 8000)
                long.commit()
                assert [change.key for change in await log.read(await _some(log))] == [b"0", b"8000"]
                assert await log.window() is None

    run(main)


def test_ids_are_never_seen_before_they_are_given_out(log_dsn: str) -> None:
    """A tick that took one for given out would exclude the change that gets it. Two writers take ids by the million."""
    busy = [0, 0]

    def write(number: int) -> None:
        with psycopg.connect(log_dsn, autocommit=True) as connection:
            while min(busy) < 20:
                connection.execute("SELECT count(nextval('cdc_hooks.change_id')) FROM generate_series(1, 50000)")
                busy[number] += 1

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    with psycopg.connect(log_dsn, autocommit=True) as reader:
        query = """
            SELECT count(*) FILTER (WHERE id < previous) FROM (
                SELECT id, lag(id) OVER (ORDER BY n) AS previous FROM (
                    SELECT n, cdc_hooks.last_id() AS id FROM generate_series(1, 20000) AS n) AS seen) AS seen
        """
        while any(writer.is_alive() for writer in writers):
            assert reader.execute(query).fetchone() == (0,)
    for writer in writers:
        writer.join()


@pytest.mark.parametrize("seed", range(3))
def test_every_committed_change_is_in_exactly_one_window(log_dsn: str, seed: int) -> None:
    """Writers at random, some slow, some rolling back, while ticks are made; then all windows are read, twice."""
    stop = threading.Event()

    def write(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        level = chance.choice(list(IsolationLevel))
        with psycopg.connect(log_dsn) as connection:
            connection.isolation_level = level
            while not stop.is_set():
                for _ in range(chance.choice([1, 1, 3, 40])):
                    append(connection, number * 1000 + chance.randrange(5))
                if chance.random() < 0.2:
                    connection.rollback()
                else:
                    connection.commit()

    async def main() -> None:
        writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        async with open_log(log_dsn) as log:
            for writer in writers:
                writer.start()
            windows = [made for _ in range(300) if (made := await log.window())]
            stop.set()
            for writer in writers:
                writer.join()
            while (made := await log.window()) is not None:
                windows.append(made)
            read = [await log.read(each) for each in windows]
            again = [await log.read(each) for each in reversed(windows)]
            assert read == again[::-1]
            ids = [change.id for changes in read for change in changes]
            assert len(set(ids)) == len(ids)
            rows = await (await log.connection.execute("SELECT id FROM cdc_hooks.change ORDER BY id")).fetchall()
            assert sorted(ids) == [row[0] for row in rows]
            assert len(windows) > 10
            newest: dict[bytes | None, int] = {}
            for changes in read:
                for change in changes:
                    # Each writer has rows of its own and takes ids one after the other.
                    assert newest.get(change.key, 0) < change.id
                    newest[change.key] = change.id

    run(main)


def test_pages_are_limited_in_rows_and_bytes(log_dsn: str) -> None:

    async def main() -> None:
        with psycopg.connect(log_dsn) as writer:
            for key in range(25):
                append(writer, key)
            for key in range(25, 30):
                append(writer, key, data='"' + "x" * 15_000 + '"')
            append(writer, 30, data='"' + "x" * 50_000 + '"')
        async with open_log(log_dsn) as log:
            log.reader._max_rows, log.reader._max_bytes = 10, 20_000
            made = await _some(log)
            sizes, after_id, last = [], made.after_id, False
            while not last:
                page = await log.reader.page(made, after_id)
                exact = await log.reader.claimed_page(made, page.after_id, page.to_id)
                assert exact.changes == page.changes
                sizes.append(len(page.changes))
                after_id, last = page.to_id, page.last
            assert sizes[:2] == [10, 10]
            assert sum(sizes) == 31
            assert max(sizes[2:]) <= 7

    run(main)


def test_a_window_over_many_segments_leaps_over_what_is_gone(log_dsn: str) -> None:
    async def main() -> None:
        with psycopg.connect(log_dsn) as writer:
            append(writer, 1)
            for segment in (1, 15, 16, 40, 10_000):
                writer.execute("SELECT setval('cdc_hooks.change_id', %s)", (segment << window.SEGMENT_BITS,))
                append(writer, segment)
        async with open_log(log_dsn) as log:
            made = await log.reader.open_window(0, (await _some(log)).hi_tick)
            assert [change.key for change in await log.read(made)] == [b"1", b"1", b"15", b"16", b"40", b"10000"]

    run(main)


def test_times_are_utc_with_microseconds_whatever_the_session(log_dsn: str) -> None:
    async def main() -> None:
        with psycopg.connect(log_dsn, options="-c TimeZone=Asia/Kathmandu -c DateStyle=German") as writer:
            writer.execute(
                "INSERT INTO cdc_hooks.change (action, table_name, at)"
                " VALUES ('T', 'public.orders', '2026-11-21 10:00+00')"
            )
        async with open_log(log_dsn + " options='-c TimeZone=Asia/Kathmandu -c DateStyle=German'") as log:
            (change,) = await log.read(await _some(log))
            assert change.at == b"2026-11-21T10:00:00.000000Z"

    run(main)


def test_a_page_costs_an_index_scan_of_one_partition_and_reads_no_more_rows_than_it_has(log_dsn: str) -> None:
    """Nothing has analysed the log. That no more rows are read than are wanted means that nothing is sorted, either."""
    with psycopg.connect(log_dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO cdc_hooks.change (action, table_name, key, data)"
            " SELECT 'U', 'public.orders', n, '{}' FROM generate_series(1, 50000) AS n"
        )
        with connection.transaction():
            page = "SELECT length FROM cdc_hooks.read_page(20000, 30000, '3', '100000:100000:', '{}', 100, 1000000)"
            for _ in range(7):
                assert connection.execute(page).fetchone() == (100,)
            scans = connection.execute(
                "SELECT relname, seq_scan, idx_scan, idx_tup_fetch FROM pg_stat_xact_user_tables"
                " WHERE relname LIKE 'change_%' AND seq_scan + idx_scan > 0"
            ).fetchall()
    assert scans == [("change_00", 0, 2 * 7, 2 * 700)]  # once for the sizes


def test_a_heartbeat_beside_a_tick_hides_no_writer_from_it(log_dsn: str) -> None:
    """A heartbeat takes a transaction id: were it to come first, a writer might begin between it and the tick."""

    async def main() -> None:
        async with open_log(log_dsn) as log:
            with (
                psycopg.connect(log_dsn, autocommit=True) as writer,
                psycopg.connect(log_dsn) as blocker,
                psycopg.connect(log_dsn) as between,
            ):
                await log.journal.look(forced=True)
                append(writer, 1)
                blocker.execute("LOCK TABLE cdc_hooks.tick IN ACCESS EXCLUSIVE MODE")
                looking = asyncio.create_task(log.journal.look_and_beat(60.0))
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'cdc_hooks.tick'::regclass"
                while writer.execute(waiting).fetchone() == (0,):
                    await asyncio.sleep(0)
                append(between, 2)
                blocker.rollback()
                first = (await looking).window
                between.commit()
                append(writer, 3)
                second = await _some(log)
                assert first is not None
                keys = [change.key for made in (first, second) for change in await log.read(made)]
                assert sorted(key or b"" for key in keys) == [b"1", b"2", b"3"]

    run(main)


def test_a_tick_must_come_first_in_its_transaction(log_dsn: str) -> None:
    with psycopg.connect(log_dsn) as connection, pytest.raises(psycopg.errors.RaiseException, match="first thing"):
        connection.execute("SELECT pg_current_xact_id()")
        connection.execute("SELECT cdc_hooks.make_tick(0, true)")


@pytest.mark.parametrize("setting", ["client_encoding=LATIN1", "default_transaction_isolation=serializable"])
def test_what_the_session_is_set_to_changes_nothing(log_dsn: str, setting: str) -> None:
    async def main() -> None:
        with psycopg.connect(log_dsn) as writer:
            for key in range(2000):
                append(writer, key, data='{"note": "' + "ä€" * 50 + '"}')
        async with open_log(f"{log_dsn} options='-c {setting}'") as log:
            log.reader._max_bytes = 20_000
            changes = await log.read(await _some(log))
            assert len(changes) == 2000
            assert changes[0].data == ('{"note": "' + "ä€" * 50 + '"}').encode()
            row = await (await log.reader._live.execute("SHOW transaction_isolation")).fetchone()
            assert row == ("read committed",)

    run(main)


def test_segments() -> None:
    assert segment_end(0) == segment_end(2**18 - 1) == 2**18 - 1
    assert segment_end(2**18) == 2**19 - 1


async def _some(log: Log) -> window.Window:
    made = await log.window()
    assert made is not None
    return made
