"""What the daemon records of deliveries, and what it does when that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from cdc_hooks.changelog.connection import connect
from cdc_hooks.changelog.registry import register
from cdc_hooks.config.ledger import Ledger as Rules
from cdc_hooks.deliver import ledger_connection, logbook
from cdc_hooks.deliver.ledger import Attempt, Delivery, Endpoint, Ledger, WebhookLedger
from cdc_hooks.deliver.ledger_connection import NotWritten
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.errors import Superseded
from cdc_hooks.model import Message
from tests.db.logs import Log, install, open_log, run

ENDPOINT = Endpoint("https://api.partner.example/hooks", ("0123456789ab",), {"public.orders": None}, ("X-Source",))
OK = Outcome(status=200, headers=(("x-request-id", "r-1"),), body=b"x" * 9000, duration_s=0.012)
REFUSED = Outcome(status=422, headers=(("x-why", "no"),), body=b"no such customer", duration_s=0.005)
AT = 1_795_255_200.0  # 2026-11-21 10:00:00 UTC


@pytest.fixture
def dsn(database: str) -> str:
    install(database)
    return database


@dataclass
class Scene:
    log: Log
    ledger: Ledger
    webhook: WebhookLedger
    dsn: str
    lost: list[int] = field(default_factory=list)

    async def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """As somebody else sees it, when all is written."""
        await self.ledger.finished.flush()
        await self.ledger.attempts.flush()
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            cursor = await connection.execute(query, parameters or None)
            return await cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def scene(dsn: str, *, partitions: bool = True, **rules: Any) -> AsyncIterator[Scene]:
    async with open_log(dsn) as log:
        ids = await register(log.connection, log.journal, {"w": "now"})
        lost: list[int] = []
        ledger = Ledger(lambda: connect(dsn, "ledger"), log.lease, Rules(**rules), lost.append)
        webhook = ledger.of(ids["w"], ENDPOINT)
        await webhook.unfinished()
        if partitions:
            await ledger.connection.run("tidy", keep_s=3600, max_bytes=None)
        try:
            yield Scene(log, ledger, webhook, dsn, lost)
        finally:
            await ledger.close()


def delivery(name: str, keys: bytes = b"[1]", part_of: str | None = None) -> Delivery:
    body = b"body of " + name.encode()
    return Delivery(Message(name, body, "public.orders", "insert", 1, "1-1", "1-1", None), keys, part_of)


def attempt(number: int = 1, outcome: Outcome = OK, error: str | None = None) -> Attempt:
    return Attempt(number, AT + number, outcome, error, {"webhook-id": "m", "webhook-signature": "v1,abc"})


def failed(number: int = 1) -> Attempt:
    return attempt(number, REFUSED, "answered 422")


async def states(here: Scene) -> dict[str, str]:
    return dict(await here.rows("SELECT message_id, state FROM cdc_hooks.delivery ORDER BY number"))


def test_a_first_success_is_one_row_and_says_with_what_it_was_made(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            here.webhook.delivered(delivery("m1", b"[17,18]"), attempt())
            ((*row, logged),) = await here.rows(
                "SELECT number, message_id, state, kind, row_ids, attempts, last_status,"
                " round(duration_s::numeric, 3)::text, response_headers, response_body, body, url,"
                " secrets, headers, extract(epoch FROM first_attempt_at)"
                " FROM cdc_hooks.delivery_log d JOIN cdc_hooks.endpoint e ON e.id = d.endpoint_id"
            )
            assert row == [
                *(1, "m1", "delivered", "normal", "[17,18]", 1, 200, "0.012", "x-request-id: r-1", None, None),
                *("https://api.partner.example/hooks", "0123456789ab", "X-Source"),
            ]
            assert float(logged) == AT + 1
            assert await here.rows("SELECT 1 FROM cdc_hooks.attempt") == []
            assert here.lost == []

    run(main)


def test_a_schedule_is_remembered_until_it_got_through(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            one = delivery("m1")
            await here.webhook.failed(one, failed(1), state="pending", next_attempt_at=AT + 60, counted=1)
            await here.webhook.failed(one, failed(2), state="pending", next_attempt_at=AT + 120, counted=2)
            (unfinished,) = (await here.webhook.unfinished()).values()
            assert (unfinished.state, unfinished.attempts, unfinished.counted) == ("pending", 2, 2)
            assert (unfinished.next_attempt_at, unfinished.first_attempt_at) == (AT + 120, AT + 1)
            await here.webhook.delivered_at_last(one, attempt(3))
            assert await here.webhook.unfinished() == {}
            ((*row, first),) = await here.rows(
                "SELECT number, state, attempts, last_status, extract(epoch FROM first_attempt_at)::float"
                " FROM cdc_hooks.delivery_log"
            )
            assert (row, first) == ([1, "delivered", 3, 200], AT + 1)
            kept = "SELECT delivery, attempt, status, error_class, error, response_body FROM cdc_hooks.attempt"
            assert await here.rows(kept) == [
                (1, 1, 422, "4xx", "answered 422", b"no such customer"),
                (1, 2, 422, "4xx", "answered 422", b"no such customer"),
            ]

    run(main)


def test_numbers_are_in_the_order_of_the_attempts(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            for n in range(5):
                here.webhook.delivered(delivery(f"good-{n}"), attempt())
                await here.webhook.failed(delivery(f"bad-{n}"), failed(), state="dead", next_attempt_at=None)
            found = await here.rows("SELECT message_id FROM cdc_hooks.every_delivery ORDER BY number")
            assert [name for (name,) in found] == [name for n in range(5) for name in (f"good-{n}", f"bad-{n}")]

    run(main)


def test_parts_of_a_split_delivery_are_remembered_until_all_of_it_is_finished_with(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            webhook = here.webhook
            await webhook.split(delivery("whole"), failed())
            await webhook.split(delivery("left", part_of="whole"), failed())
            await webhook.delivered_at_last(delivery("left-1", part_of="left"), attempt())
            await webhook.failed(delivery("left-2", part_of="left"), failed(), state="rejected", next_attempt_at=None)
            assert await states(here) == {"whole": "split", "left": "split", "left-1": "part", "left-2": "rejected"}
            await webhook.finished("left")
            assert await states(here) == {"whole": "split", "left": "part", "left-2": "rejected"}
            # However long the rest takes.
            await here.rows("UPDATE cdc_hooks.delivery SET last_attempt_at = '2020-01-01'")
            await webhook.split(delivery("right", part_of="whole"), failed())
            await webhook.failed(delivery("right-1", part_of="right"), failed(), state="dead", next_attempt_at=None)
            await here.rows("UPDATE cdc_hooks.delivery SET last_attempt_at = '2020-01-01'")
            assert {name: one.state for name, one in (await webhook.unfinished()).items()} == {
                "whole": "split",
                "left": "part",
                "right": "split",
                "right-1": "dead",
            }
            await webhook.finished("right")
            await webhook.finished("whole")
            assert await states(here) == {"left-2": "rejected", "right-1": "dead"}
            # And what it was split for is recorded.
            query = "SELECT message_id, part_of, state, attempts, last_status FROM cdc_hooks.delivery_log"
            assert await here.rows(f"{query} ORDER BY number") == [
                ("whole", None, "split", 1, 422),
                ("left", "whole", "split", 1, 422),
                ("left-1", "left", "delivered", 1, 200),
                ("right", "whole", "split", 1, 422),
            ]
            tried = "SELECT message_id FROM cdc_hooks.attempt JOIN cdc_hooks.delivery_log ON delivery = number"
            assert await here.rows(f"{tried} ORDER BY number") == [("whole",), ("left",), ("right",)]

    run(main)


def test_rows_with_a_dead_letter_are_known_by_their_keys(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            keys = b'[17,"a, \\u0000",{"a": 1, "b": 2}]'
            await here.webhook.failed(delivery("m1", keys), failed(), state="rejected", next_attempt_at=None)
            await here.webhook.failed(delivery("m2", b"[18]"), None, state="held", next_attempt_at=None)
            await here.webhook.failed(delivery("m3", b"[19]"), failed(), state="pending", next_attempt_at=AT)
            found = {key for _, key in await here.webhook.held_rows()}
            assert found == {b"17", b'"a, \\u0000"', b'{"a": 1, "b": 2}', b"18"}

    run(main)


@pytest.mark.parametrize(
    ("log", "names"),
    [("all", ["first", "later", "dropped"]), ("rejected", ["dropped"]), ("none", [])],
)
def test_what_is_recorded_is_a_choice(dsn, log, names):
    async def main() -> None:
        async with scene(dsn, log=log) as here:
            webhook = here.webhook
            webhook.delivered(delivery("first"), attempt())
            for name in ("later", "dropped", "letter"):
                await webhook.failed(delivery(name), failed(), state="pending", next_attempt_at=AT)
            await webhook.delivered_at_last(delivery("later"), attempt(2))
            await webhook.dropped(delivery("dropped"), attempt(2, REFUSED, "answered 422"))
            await webhook.failed(delivery("letter"), failed(2), state="dead", next_attempt_at=None)
            found = await here.rows("SELECT message_id FROM cdc_hooks.delivery_log ORDER BY number")
            assert [name for (name,) in found] == names
            assert await here.rows("SELECT message_id, body FROM cdc_hooks.delivery") == [("letter", b"body of letter")]
            ((attempts,),) = await here.rows("SELECT count(*) FROM cdc_hooks.attempt")
            assert attempts == (0 if log == "none" else 4)

    run(main)


@pytest.mark.parametrize(
    ("bodies", "kept"), [("all", (b"body of m1", b"x" * 4096)), ("rejected", (None, None)), ("none", (None, None))]
)
def test_whose_bodies_are_kept_is_a_choice(dsn, bodies, kept):
    async def main() -> None:
        async with scene(dsn, bodies=bodies) as here:
            here.webhook.delivered(delivery("m1"), attempt())
            assert await here.rows("SELECT body, response_body FROM cdc_hooks.delivery_log") == [kept]

    run(main)


STRANGE = "\0 \ud800 \x1f → \U0001f4a5 \udcff"


@pytest.mark.parametrize(
    "database",
    ["", *(f"TEMPLATE template0 ENCODING '{name}' LOCALE 'C'" for name in ("LATIN1", "SQL_ASCII"))],
    indirect=True,
)
def test_no_insert_fails_for_what_a_stranger_said(dsn):
    async def main() -> None:
        async with scene(dsn, bodies="all") as here:
            outcome = Outcome(
                status=500,
                error=Failure.OTHER,
                detail=STRANGE,
                headers=(("x", STRANGE), ("y", "a\r\nz: b")),
                body=bytes(range(256)) * 64,
            )
            bad = Attempt(1, AT, outcome, STRANGE, {"webhook-id": "m"})
            await here.webhook.failed(delivery("m1"), bad, state="dead", next_attempt_at=None)
            here.webhook.delivered(delivery("m2"), bad._replace(error=None))
            assert await here.rows("SELECT response_body FROM cdc_hooks.attempt") == [(outcome.body,)]
            assert await here.rows("SELECT response_body FROM cdc_hooks.delivery_log") == [(outcome.body[:4096],)]
            assert here.lost == []

    run(main)


def test_many_are_written_in_groups_in_their_order(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            for n in range(2500):
                here.webhook.delivered(delivery(f"m{n}"), attempt())
            found = await here.rows("SELECT message_id FROM cdc_hooks.delivery_log ORDER BY number")
            assert [name for (name,) in found] == [f"m{n}" for n in range(2500)]
            assert here.lost == []

    run(main)


def test_they_are_written_by_themselves(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            here.webhook.delivered(delivery("m1"), attempt())
            async with asyncio.timeout(20):
                while not here.ledger.used:
                    await asyncio.sleep(0.01)
            assert len(await here.rows("SELECT 1 FROM cdc_hooks.delivery_log")) == 1

    run(main)


def test_what_there_is_no_room_for_is_lost_and_counted(dsn, monkeypatch):
    monkeypatch.setattr(logbook, "MAX_RECORDS", 3)

    async def main() -> None:
        async with scene(dsn) as here:
            for n in range(5):
                here.webhook.delivered(delivery(f"m{n}"), attempt())
            assert sum(here.lost) == 2
            assert len(await here.rows("SELECT 1 FROM cdc_hooks.delivery_log")) == 3
            here.webhook.delivered(delivery("m5"), attempt())
            assert len(await here.rows("SELECT 1 FROM cdc_hooks.delivery_log")) == 4

    run(main)


def test_bodies_have_their_own_bound_in_memory(dsn, monkeypatch):
    monkeypatch.setattr(logbook, "MAX_BYTES", 20_000)

    async def main() -> None:
        async with scene(dsn, bodies="all") as here:
            for _ in range(3):  # again and again: what is written makes room
                for n in range(3):
                    here.webhook.delivered(delivery(f"m{n}"), attempt())
                await here.ledger.finished.flush()
            assert sum(here.lost) == 3

    run(main)


def test_a_lost_connection_is_made_anew(dsn, monkeypatch):
    monkeypatch.setattr(ledger_connection, "RECONNECT_S", 0.0)

    async def main() -> None:
        async with scene(dsn) as here:
            kill = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            kill += " WHERE application_name = 'cdc-hooks ledger'"
            await here.rows(kill)
            with pytest.raises(NotWritten):
                await here.webhook.failed(delivery("m1"), failed(), state="pending", next_attempt_at=AT)
            assert here.lost == [1]
            await here.webhook.failed(delivery("m1"), failed(2), state="pending", next_attempt_at=AT)
            assert await states(here) == {"m1": "pending"}
            await here.rows(kill)
            here.webhook.delivered(delivery("m2"), attempt())
            await here.ledger.finished.flush()
            assert here.lost == [1, 1]

    run(main)


def test_a_table_that_is_locked_holds_nobody_up_for_long(dsn, monkeypatch):
    monkeypatch.setattr(ledger_connection, "WRITE_S", 0.2)
    monkeypatch.setattr(ledger_connection, "RECONNECT_S", 0.0)

    async def main() -> None:
        async with scene(dsn) as here:
            with psycopg.connect(dsn) as other:
                other.execute("LOCK TABLE cdc_hooks.delivery, cdc_hooks.delivery_log")
                here.webhook.delivered(delivery("m1"), attempt())
                with pytest.raises(NotWritten, match="no answer"):
                    await here.webhook.failed(delivery("m2"), failed(), state="pending", next_attempt_at=AT)
            assert here.lost == [1, 1]
            await here.webhook.failed(delivery("m2"), failed(), state="pending", next_attempt_at=AT)
            assert await states(here) == {"m2": "pending"}

    run(main)


FULL_DISK = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT ON cdc_hooks.delivery_log FOR EACH ROW EXECUTE FUNCTION full_disk();
    CREATE TRIGGER full_disk BEFORE INSERT ON cdc_hooks.delivery FOR EACH ROW EXECUTE FUNCTION full_disk()"""


def test_a_full_disk_is_over_when_it_is_over(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            here.webhook.delivered(delivery("m0"), attempt())
            await here.rows(FULL_DISK)
            here.webhook.delivered(delivery("m1"), attempt())
            with pytest.raises(NotWritten, match="No space left on device"):
                await here.webhook.failed(delivery("m2"), failed(), state="pending", next_attempt_at=AT)
            assert here.lost == [1, 1]
            await here.rows("DROP FUNCTION full_disk CASCADE")
            here.webhook.delivered(delivery("m3"), attempt())
            assert await here.rows("SELECT message_id FROM cdc_hooks.delivery_log ORDER BY number") == [
                ("m0",),
                ("m3",),
            ]

    run(main)


def test_a_partition_that_is_missing_is_made(dsn):
    async def main() -> None:
        async with scene(dsn, partitions=False) as here:
            assert await here.rows("SELECT 1 FROM cdc_hooks.ledger_partitions()") == []
            here.webhook.delivered(delivery("m1"), attempt())
            assert len(await here.rows("SELECT 1 FROM cdc_hooks.delivery_log")) == 1
            assert here.lost == []

    run(main)


def test_who_is_superseded_records_nothing(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            await here.rows("UPDATE cdc_hooks.leader SET generation = generation + 1")
            here.webhook.delivered(delivery("m1"), attempt())
            with pytest.raises(Superseded):
                await here.webhook.failed(delivery("m2"), failed(), state="pending", next_attempt_at=AT)
            assert await here.rows("SELECT 1 FROM cdc_hooks.every_delivery") == []

    run(main)


def test_an_endpoint_is_written_once_for_each_way_it_is_configured(dsn):
    async def main() -> None:
        async with scene(dsn) as here:
            again = here.ledger.of(1, ENDPOINT)
            other = here.ledger.of(1, ENDPOINT._replace(secrets=("ab", "cd")))
            await again.unfinished()
            await other.unfinished()
            assert await here.rows("SELECT secrets FROM cdc_hooks.endpoint ORDER BY id") == [
                ("0123456789ab",),
                ("ab cd",),
            ]

    run(main)
