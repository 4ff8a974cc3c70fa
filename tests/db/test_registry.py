"""What a daemon settles before it acts: epochs, databases that it must refuse, read-only servers."""

from __future__ import annotations

import psycopg
import pytest

from cdc_hooks.changelog import rebase
from cdc_hooks.changelog.connection import ConnectionLost, connect
from cdc_hooks.changelog.lease import release_lead
from cdc_hooks.changelog.registry import examine, progress_of, register, settle_epoch
from cdc_hooks.demo.postgres import PostgresServer
from cdc_hooks.errors import DatabaseError
from tests.db.logs import append, install, open_log, run


@pytest.fixture
def log_dsn(database: str) -> str:
    install(database)
    return database


async def refusal(dsn: str) -> str:
    connection = await connect(dsn, "test")
    try:
        with pytest.raises(DatabaseError) as refused:
            await examine(connection)
    finally:
        await connection.close()
    return str(refused.value)


def test_a_new_installation_has_epoch_one(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            epoch_of = await settle_epoch(log.connection, log.journal)
            assert [epoch_of(0), epoch_of(1), epoch_of(10**12)] == [1, 1, 1]
            again = await settle_epoch(log.connection, log.journal)
            assert again(1) == 1

    run(main)


def test_another_timeline_begins_an_epoch_above_what_was_seen(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            await settle_epoch(log.connection, log.journal)
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 1)
                await log.journal.look()
                append(writer, 2)  # not seen by a tick: the failover may have given its id twice
                writer.execute("UPDATE cdc_hooks.epoch SET timeline = timeline + 1")
            epoch_of = await settle_epoch(log.connection, log.journal)
            assert [epoch_of(1), epoch_of(2), epoch_of(3)] == [1, 2, 2]

    run(main)


def test_a_cursor_from_the_future_is_refused_until_rebase(log_dsn: str) -> None:
    async def main() -> None:
        async with open_log(log_dsn) as log:
            await settle_epoch(log.connection, log.journal)
            ids = await register(log.connection, log.journal, {"order-sync": "now"})
            with psycopg.connect(log_dsn, autocommit=True) as admin:
                append(admin, 1)
                admin.execute(
                    "INSERT INTO cdc_hooks.tick (next_xid, after_id, upto_id, snapshot)"
                    " VALUES ('999999999', 0, 1, '999999990:999999999:')"
                )
                with pytest.raises(DatabaseError, match="restored from a dump") as refused:
                    await settle_epoch(log.connection, log.journal)
                assert "cdc-hooks rebase" in str(refused.value)
                with pytest.raises(DatabaseError, match="a daemon acts"):
                    rebase(admin)
                await release_lead(log.connection, log.lease)
                assert "1 gap recorded" in rebase(admin)
                gaps = admin.execute("SELECT webhook_id, after_id, upto_id FROM cdc_hooks.gap").fetchall()
                assert gaps == [(ids["order-sync"], 0, 1)]
                assert admin.execute("SELECT count(*) FROM cdc_hooks.change").fetchone() == (0,)
        async with open_log(log_dsn) as log:
            await settle_epoch(log.connection, log.journal)
            with psycopg.connect(log_dsn, autocommit=True) as writer:
                append(writer, 2)
            made = (await log.journal.look()).window
            assert made is not None
            assert [change.key for change in await log.read(made)] == [b"2"]
            progress = await progress_of(log.connection, ids["order-sync"])
            assert progress is not None
            assert progress.lo_tick == made.lo_tick

    run(main)


def test_a_database_without_the_schema_is_refused(database: str) -> None:
    async def main() -> None:
        assert "run: cdc-hooks apply" in await refusal(database)

    run(main)


def test_a_newer_schema_is_refused_with_both_numbers(log_dsn: str) -> None:
    async def main() -> None:
        with psycopg.connect(log_dsn, autocommit=True) as admin:
            admin.execute("INSERT INTO cdc_hooks.migration (version) VALUES (7)")
        said = await refusal(log_dsn)
        assert "schema version 7" in said
        assert "knows 1" in said
        assert "upgrade cdc-hooks" in said

    run(main)


def test_a_read_only_server_is_waited_for(log_dsn: str) -> None:
    async def main() -> None:
        connection = await connect(log_dsn + " options='-c default_transaction_read_only=on'", "test")
        with pytest.raises(ConnectionLost, match="read-only"):
            await examine(connection)
        await connection.close()

    run(main)


def test_a_server_that_is_gone_is_a_lost_connection(own_server: PostgresServer) -> None:
    install(own_server.dsn())

    async def main() -> None:
        connection = await connect(own_server.dsn(), "test")
        own_server.restart("immediate")
        with pytest.raises(ConnectionLost):
            await examine(connection)
        await connection.close()
        again = await connect(own_server.dsn(), "test")
        assert not (await examine(again)).pooled
        await again.close()

    run(main)
