"""One look finds what is new, reads it, and claims it for who waits."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from cdc_hooks.changelog.journal import SHORT_IDS, Waiting
from cdc_hooks.changelog.pulse import Head, Pulse
from cdc_hooks.changelog.registry import progress_of, register
from cdc_hooks.changelog.window import Progress, Window
from cdc_hooks.errors import DatabaseError
from cdc_hooks.model import Action, Change
from tests.db.logs import Log, append, install, open_log, run


@pytest.fixture
def log_dsn(database: str) -> str:
    install(database)
    return database


async def _webhooks(log: Log, *names: str) -> list[int]:
    ids = await register(log.connection, log.journal, dict.fromkeys(names, "earliest"))
    return [ids[name] for name in names]


def test_a_short_window_comes_with_its_changes_claimed_for_those_who_wait(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            waits, waits_too, busy = await _webhooks(log, "order-sync", "stock-sync", "audit-feed")
            with psycopg.connect(log_dsn) as writer:
                append(writer, 17)
                append(writer, 18)
            look = await log.journal.look(Waiting(0, {waits: "a1", waits_too: "b2"}))
            assert look.window is not None
            assert look.columns is not None
            assert look.claimed
            assert look.columns.decode().changes == await log.read(look.window)
            assert look.columns.decode().kinds == {("public.orders", Action.UPDATE): 2}
            claim = Progress(0, look.window.hi_tick, look.window.after_id, look.window.upto_id, (), "a1")
            assert await progress_of(log.connection, waits) == claim
            assert (await progress_of(log.connection, waits_too)).shape == "b2"  # type: ignore[union-attr]
            assert await progress_of(log.connection, busy) == Progress(0, 0, 0)
            again = await log.journal.look(Waiting(look.window.hi_tick, {waits: "a1"}))
            assert again == type(look)(again.oldest_xid, None)  # others in the server have transactions, too

    run(main)


def test_nothing_is_claimed_of_a_window_that_begins_elsewhere(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            (webhook,) = await _webhooks(log, "order-sync")
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
                assert (await log.journal.look()).window is not None
                append(writer, 2)
            look = await log.journal.look(Waiting(0, {webhook: "a1"}))
            assert look.columns is not None
            assert not look.claimed
            assert await progress_of(log.connection, webhook) == Progress(0, 0, 0)

    run(main)


@pytest.mark.parametrize(("count", "size"), [(SHORT_IDS + 1, 10), (3, 600_000)])
def test_a_window_that_is_long_or_large_is_left_to_the_reader(log_dsn: str, count: int, size: int) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            (webhook,) = await _webhooks(log, "order-sync")
            with psycopg.connect(log_dsn) as writer:
                for key in range(count):
                    append(writer, key, data='{"note": "' + "x" * size + '"}')
            look = await log.journal.look(Waiting(0, {webhook: "a1"}))
            assert look.window is not None
            assert look.columns is None
            assert not look.claimed
            assert await progress_of(log.connection, webhook) == Progress(0, 0, 0)
            assert len(await log.read(look.window)) == count

    run(main)


def test_an_acknowledgement_that_comes_after_the_next_claim_does_not_stand_for_it(log_dsn: str) -> None:
    """Else a crash would have the claimed page cut anew, and sent again under other ids."""

    async def main() -> None:
        async with open_log(log_dsn) as log:
            (webhook,) = await _webhooks(log, "order-sync")
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
                first = (await log.journal.look()).window
                assert first is not None
                append(writer, 2)
                look = await log.journal.look(Waiting(first.hi_tick, {webhook: "a1"}))
            assert look.claimed
            assert look.window is not None
            claim = await progress_of(log.connection, webhook)
            await log.journal.record(webhook, Progress(first.hi_tick, first.hi_tick, 0))
            assert await progress_of(log.connection, webhook) == claim
            finished = Progress(look.window.hi_tick, look.window.hi_tick, 0)
            await log.journal.record(webhook, finished)
            assert await progress_of(log.connection, webhook) == finished

    run(main)


def test_every_kind_of_change_is_read_as_it_was_written(log_dsn: str) -> None:
    async def main() -> None:
        rows = [
            ("I", 'public."Order Items"', '{"order_id":1,"line":2}', None, '{"note":"\\u001f","qty":\t2}', None),
            ("U", "public.orders", '"ä-17"', '"ä-16"', '{"total": 1.50}', None),
            ("U", "public.orders", '"ä-18"', None, None, True),
            ("D", "public.orders", None, None, "{}", None),
            ("T", "public.orders", None, None, None, None),
            ("U", "public.orders", '"ä-18"', None, "{}", False),
        ]
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn) as writer:
                for row in rows:
                    writer.execute(
                        "INSERT INTO cdc_hooks.change (action, table_name, key, old_key, data, truncated)"
                        " VALUES (%s, %s, %s, %s, %s, %s)",
                        row,
                    )
                times = writer.execute(
                    "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM cdc_hooks.change"
                    " ORDER BY id"
                ).fetchall()
            look = await log.journal.look()
            assert look.window is not None
            assert look.columns is not None
            assert look.columns.decode().changes == await log.read(look.window) == [
                Change(number, table, dict(zip("IUDT", Action, strict=True))[action], _bytes(key), _bytes(old_key),
                       at.encode(), _bytes(data), truncated is True)
                for number, ((action, table, key, old_key, data, truncated), (at,)) in enumerate(
                    zip(rows, times, strict=True), 1)
            ]  # fmt: skip
            assert look.columns.decode().kinds[("public.orders", Action.UPDATE)] == 3

    run(main)


@pytest.mark.parametrize(
    ("row", "said"), [({"data": "not\x1fJSON"}, "a control character"), ({"action": "X"}, "the action X")]
)
def test_what_capture_cannot_have_written_is_an_error(log_dsn: str, row: dict[str, str], said: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn) as writer:
                append(writer, 1, **row)
            with pytest.raises(DatabaseError, match=f"capture did not write .{said}"):
                await log.read(await _window(log, 0))

    run(main)


async def _window(log: Log, lo_tick: int) -> Window:
    row = await (await log.connection.execute("SELECT hi_tick FROM cdc_hooks.make_tick(1, true)")).fetchone()
    assert row is not None
    return await log.reader.open_window(lo_tick, row[0])


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def test_what_was_to_be_recorded_before_stands_before_the_claim(log_dsn: str) -> None:
    """A partial record that still waits for the connection must not become the newest, after what a look claims."""

    async def main() -> None:
        async with open_log(log_dsn) as log:
            webhook, other = await _webhooks(log, "order-sync", "stock-sync")
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
                first = (await log.journal.look()).window
                assert first is not None
                append(writer, 2)
            partial = Progress(first.lo_tick, first.hi_tick, first.after_id, first.upto_id, (1,), "a1")
            log.journal.record(other, Progress(0, 0, 0))  # is being written
            await asyncio.sleep(0)
            log.journal.record(webhook, partial)  # waits for that
            look = await log.journal.look(Waiting(first.hi_tick, {webhook: "a1"}))
            assert look.claimed
            newest = await progress_of(log.connection, webhook)
            assert newest is not None
            assert newest.lo_tick == first.hi_tick

    run(main)


def test_a_row_that_cannot_be_read_stops_neither_the_ticks_nor_the_pulse(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1, data="not\x1fJSON")
                append(writer, 2)
            head = Head(0)
            pulsing = asyncio.create_task(Pulse(log.journal, head, asyncio.Event(), doorbell=False).run())
            assert await head.beyond(0, (1, "a1")) > 0
            assert head.page is None
            assert not pulsing.done()
            pulsing.cancel()

    run(main)


def test_large_keys_end_a_page_too(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            with psycopg.connect(log_dsn) as writer:
                writer.execute(
                    "INSERT INTO cdc_hooks.change (action, table_name, key, old_key)"
                    " SELECT 'U', 'public.orders', repeat('1', 1000000), repeat('2', 1000000) FROM generate_series(1,9)"
                )
            window = (await log.journal.look()).window
            assert window is not None
            page = await log.reader.page(window, window.after_id)
            assert len(page.changes) == 3
            assert len(await log.read(window)) == 9

    run(main)


def test_a_tick_that_was_made_for_a_new_webhook_wakes_those_who_wait() -> None:
    async def main() -> None:
        head = Head(5)
        waiting = asyncio.create_task(head.beyond(5, (1, "a1")))
        await asyncio.sleep(0)
        assert head.waiting() == Waiting(5, {1: "a1"})
        head.advance(6)
        assert head.waiting() == Waiting(6, {}), "it waits at another tick: nothing may be claimed for it at this one"
        assert await waiting == 6
        assert head.window is None

    asyncio.run(main())
