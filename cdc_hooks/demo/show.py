"""The demo: a shop, its database, the daemon and a receiver, all on this machine, and a verdict at the end.

Read ``_tour`` from top to bottom. Nothing is left behind, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import tempfile
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import uvloop

from cdc_hooks.demo import shop
from cdc_hooks.demo.books import Books
from cdc_hooks.demo.postgres import temporary_directory
from cdc_hooks.demo.receiver import Receiver
from cdc_hooks.demo.screen import Screen
from cdc_hooks.demo.stage import Database, Program, check_requirements, new_secret, to_the_end
from cdc_hooks.demo.verdict import Evidence, Verdict, judge
from cdc_hooks.errors import CdcHooksError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

INTERRUPTED = 130
_PATIENCE_S = 15.0
"""How long nothing may arrive, while something is missing, before the demo gives up."""
_WHERE_NEXT = """
Where to go next
  README.md               install it for real, in five steps
  config.example.yaml     every key of the configuration, with comments
  docs/how-it-works.md    why nothing is lost, and how it comes this fast
  cdc-hooks demo --seconds 60, or cdc-hooks --help"""


def run(seconds: float) -> int:
    """Run the demo. Returns the exit status: 0 only if the verdict is right. Raises CdcHooksError if a part fails."""
    check_requirements()
    # A lost connection is told of once, by us.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    before = sys.getswitchinterval()
    # The screen's thread hands the interpreter back quickly: what it draws shall not be what we measure.
    sys.setswitchinterval(0.0005)
    try:
        return uvloop.run(_until_interrupted(_tour(seconds, Screen())))
    finally:
        sys.setswitchinterval(before)


async def _until_interrupted(work: Coroutine[None, None, int]) -> int:
    """Its result; a signal cancels it, and it cleans up."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def interrupt(number: signal.Signals) -> None:
        if not received:  # only once: the cleaning up is not to be interrupted
            task.cancel()
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        Screen().say(f"\nInterrupted by {received[0].name}: everything is stopped and removed.")
        return INTERRUPTED if received[0] is signal.SIGINT else 128 + received[0]


async def _tour(seconds: float, screen: Screen) -> int:
    books = Books()
    secret = new_secret()
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(_own_directory())
        screen.say(
            "cdc-hooks demo: a small shop with a PostgreSQL server of its own. All of it goes away at the end.\n"
        )
        database = await _open_database(directory, stack)
        screen.say(f"PostgreSQL {await _version(database)} runs; the shop has four tables, which are empty.")
        receiver = Receiver(secret, books.deliver)
        stack.push_async_callback(receiver.stop)
        url = await receiver.start()
        screen.say(f"Your receiver listens at {url} and verifies signatures with the stock package standardwebhooks.")

        program = Program(directory)
        program.configure(database, url, secret)
        await _install(program, screen)
        screen.command("cdc-hooks run       the daemon, in a role of its own that has no rights on the shop's tables")
        stack.push_async_callback(program.stop_daemon)
        pid = await program.start_daemon()
        screen.output([f"ready: process {pid}, one webhook for four tables"])

        screen.say(
            f"\nThe shop does business for {seconds:g} s: about {shop.RATE} transactions a second, some rolled back,"
        )
        screen.say(f"and two statements that write {shop.PRODUCTS:,} rows at once.\n")
        async with screen.watching(books):
            await _unless_it_ends(program, _business(database, books, seconds))
        screen.command("cdc-hooks status")
        screen.output(await program.command("status"))

        if await program.stop_daemon() != 0:  # after its end nothing more can arrive
            raise CdcHooksError(program.obituary())
        tables = await shop.contents(database.dsn())
        verdict = judge(Evidence(books.committed, books.undone, books.deliveries, receiver.rejected, tables))
        if not verdict.ok:
            screen.say(f"\nThe end of the daemon's log:\n{program.log_tail()}")
    return _conclude(screen, verdict)


@contextmanager
def _own_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cdc-hooks-demo-", dir=temporary_directory()) as name:
        directory = Path(name)
        directory.chmod(0o755)  # where root starts the demo, the server runs as nobody, and must get through
        yield directory


async def _open_database(directory: Path, stack: AsyncExitStack) -> Database:
    """A running server with the shop's empty tables, which ``stack`` removes."""
    database = await to_the_end(lambda: Database(directory))
    stack.push_async_callback(asyncio.to_thread, database.remove)
    await to_the_end(database.start)
    await shop.create(database.dsn())
    return database


async def _install(program: Program, screen: Screen) -> None:
    screen.say("From here on it is what you would do yourself, with a configuration file of your own:")
    screen.command("cdc-hooks plan      what would change in the database? --sql prints it as a script")
    planned = await program.command("plan", fine=(3,))
    screen.output([planned[-1].partition(".")[0] + ", none of them done yet"])
    screen.command("cdc-hooks apply     the DBA creates the change log, the daemon's role, and the triggers")
    screen.output(await program.command("apply"), most=7)


async def _business(database: Database, books: Books, seconds: float) -> None:
    """The writer's work, and then the wait for what is on its way."""
    try:
        await shop.write(database.dsn(), books, seconds)
    except ExceptionGroup as group:
        failed = group.subgroup(psycopg.Error)
        if failed is None:
            raise
        raise CdcHooksError(
            f"the shop cannot write: {failed.exceptions[0]}\nthe end of the server's log:\n{database.log_tail()}"
        ) from group
    await books.settled(_PATIENCE_S)


async def _unless_it_ends(program: Program, work: Coroutine[None, None, None]) -> None:
    """Do the work; raise CdcHooksError as soon as the daemon ends."""
    working = asyncio.ensure_future(work)
    running = asyncio.ensure_future(program.daemon_ends())
    try:
        await asyncio.wait({working, running}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            raise CdcHooksError(program.obituary())
        working.result()
    finally:
        working.cancel()
        running.cancel()
        await asyncio.gather(working, running, return_exceptions=True)


async def _version(database: Database) -> str:
    async with await psycopg.AsyncConnection.connect(database.dsn()) as connection:
        return str(connection.info.server_version // 10000)


def _conclude(screen: Screen, verdict: Verdict) -> int:
    screen.say(f"\n{verdict.line}", "bold green" if verdict.ok else "bold red")
    if verdict.ok:
        screen.say(_WHERE_NEXT)
    return 0 if verdict.ok else 1
