"""``deliveries resend``: stored bodies sent again from this process, one after the other.

What was held behind them follows. Without the database it ends: nothing could be claimed, or recorded.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import click
import psycopg

from cdc_hooks import assembly
from cdc_hooks.changelog.connection import ConnectionLost, translated
from cdc_hooks.cli.output import took
from cdc_hooks.cli.program import INTERRUPTED
from cdc_hooks.deliver.sign import sign
from cdc_hooks.errors import CdcHooksError, DatabaseError
from cdc_hooks.model import Message
from cdc_hooks.ops import deliveries as ledger
from cdc_hooks.ops.following import held_behind, rows_of
from cdc_hooks.ops.resending import Resends
from cdc_hooks.reach import Reach
from cdc_hooks.sql import queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_hooks.config import Config
    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.deliver.post import Sender
    from cdc_hooks.ops.deliveries import Found
    from cdc_hooks.ops.following import Row


class Result(Enum):
    DELIVERED = auto()
    FAILED = auto()
    NOT_SENT = auto()
    """It cannot be, or another must be sent before it."""
    LEFT_ALONE = auto()
    """Somebody else has it, or had it meanwhile."""


def why_not(one: Found, config: Config) -> str | None:
    """Why a delivery cannot be resent; None if it can."""
    if one.webhook not in config.webhooks:
        return f"webhook {one.webhook} is not in the configuration"
    if one.open and one.state not in ledger.LETTERS:
        return f"it is {one.state}: the daemon has it in hand; to have it tried at once: cdc-hooks resume {one.webhook}"
    if one.state == "failed":
        return f"it is a resend itself, which failed; resend the delivery: {one.resend_of}"
    if one.state == "split":
        return f"it was split; to resend its parts, see: cdc-hooks deliveries show {one.number}"
    if not one.has_body:
        return "its body was not kept (ledger.bodies); to send its rows again, use replay"
    return None


def resend(
    connection: psycopg.Connection[Any], config: Config, chosen: Sequence[Found], *, rate: float | None = None
) -> int:
    """Send them in this order, at most ``rate`` a second, telling of each. The exit status.

    The first interrupt lets the request that is under way end, and its record be written; the second cuts it off.
    """
    try:
        return asyncio.run(_Resending(connection, config).run(chosen, rate))
    except asyncio.CancelledError:
        return INTERRUPTED


class _Resending:
    def __init__(self, connection: psycopg.Connection[Any], config: Config) -> None:
        self._connection = connection
        self._config = config
        self._resends = Resends(connection, config.ledger)
        ((self._installation,),) = connection.execute(queries("changelog")["installation"].encode()).fetchall()
        self._webhooks: dict[str, tuple[assembly.Plan, Sender]] = {}
        self._results: dict[int, Result] = {}
        self._wanted = 0
        self._gone: list[Found] = []
        self._waiting: set[Row] = set()
        """Rows of what has not got through, or is not known to have: what comes after it waits."""
        self._unrecorded = ""
        self._stop = asyncio.Event()

    async def run(self, chosen: Sequence[Found], rate: float | None) -> int:
        task = asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            if self._stop.is_set():
                task.cancel()
            else:
                self._stop.set()
                click.echo("stopping after this one; to cut it off, interrupt again", err=True)

        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
        try:
            await self._all(chosen, rate)
        except ConnectionLost as error:
            self._sum_up()
            raise DatabaseError(
                f"the database was lost: {error.message}{self._unrecorded}",
                hint="when it is there again, see what is left: cdc-hooks deliveries list",
            ) from error
        return self._sum_up()

    async def _all(self, chosen: Sequence[Found], rate: float | None) -> None:
        async with AsyncExitStack() as stack:
            next_at = time.monotonic()
            while chosen:
                self._wanted += len(chosen)
                for one in chosen:
                    await self._pause(next_at - time.monotonic())
                    if self._stop.is_set():
                        return
                    next_at = time.monotonic() + (1 / rate if rate else 0.0)
                    result = self._results[one.number] = await self._one(one, stack)
                    if result is not Result.DELIVERED:
                        self._waiting |= rows_of(one)
                with translated():
                    chosen = self._followers()

    def _followers(self) -> list[Found]:
        """What was held for those that have got through, and is not among them."""
        behind = held_behind(self._connection, self._gone)
        follow = [one for one in behind if one.number not in self._results]
        if follow:
            click.echo(f"{len(follow):,} held behind them, which follow:")
        return follow

    async def _one(self, one: Found, stack: AsyncExitStack) -> Result:
        refusal = why_not(one, self._config)
        if refusal is None and rows_of(one) & self._waiting:
            refusal = "an earlier delivery with a change of the same row has not got through: it waits for that one"
        if refusal is not None:
            return self._told(one, Result.NOT_SENT, f"not sent: {refusal}")
        try:
            plan, sender = await self._webhook(one.webhook, stack)
            with translated(), self._connection.transaction():
                body = self._resends.claim(one)
                if body is None:
                    return self._told(one, Result.LEFT_ALONE, "left alone: somebody else resends it, or did just now")
                error, words = await self._send(one, body, plan, sender)
        except ConnectionLost:
            raise
        except CdcHooksError as failed:
            self._unrecorded = ""
            return self._told(one, Result.FAILED, f"not recorded: {failed.message}")
        except asyncio.CancelledError:
            click.echo(f"{one.number}: cut off; whether it has arrived is not known, and it is as it was", err=True)
            raise
        self._unrecorded = ""
        if error is None and one.open:
            self._gone.append(one)
        return self._told(one, Result.DELIVERED if error is None else Result.FAILED, words)

    async def _send(self, one: Found, body: bytes, plan: assembly.Plan, sender: Sender) -> tuple[str | None, str]:
        """Why it failed, if it did, and what to say of it."""
        started = time.time()
        headers = sign(plan.keys, one.message_id, int(started), body)
        outcome = await sender.post(_message(one, body), headers)
        error = plan.error_of(body, outcome)
        words = _in_words(outcome, error)
        self._unrecorded = f"; {one.number} was sent ({words}), but that is not recorded: it would be sent again"
        self._resends.record(one, outcome, headers, time.time() - started, error)
        return error, words

    async def _webhook(self, name: str, stack: AsyncExitStack) -> tuple[assembly.Plan, Sender]:
        if name not in self._webhooks:
            plan = assembly.Plan.of(name, self._config.webhooks[name], self._installation)
            sender = plan.sender(Reach.of(self._config))
            stack.push_async_callback(sender.aclose)
            self._webhooks[name] = plan, sender
        return self._webhooks[name]

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stop.wait()
        else:
            await asyncio.sleep(0)  # lets an interrupt in

    def _told(self, one: Found, result: Result, words: str) -> Result:
        click.echo(f"{one.number}: {one.action} of {one.table_name} to {one.webhook}: {words}")
        return result

    def _sum_up(self) -> int:
        """The exit status."""
        results = list(self._results.values())
        counts = {
            "delivered": results.count(Result.DELIVERED),
            "failed": results.count(Result.FAILED),
            "not sent": results.count(Result.NOT_SENT),
            "left alone": results.count(Result.LEFT_ALONE),
            "not recorded": int(bool(self._unrecorded)),
            "not tried": self._wanted - len(results) - bool(self._unrecorded),
        }
        click.echo(", ".join(f"{count} {what}" for what, count in counts.items() if count) + ".")
        if counts["not tried"]:
            return INTERRUPTED
        return 1 if counts["failed"] or counts["not sent"] else 0


def _in_words(outcome: Outcome, error: str | None) -> str:
    said = f"delivered, answered {outcome.status}" if error is None else f"failed, {error}"
    return f"{said}, {took(outcome.duration_s)}"


def _message(one: Found, body: bytes) -> Message:
    return Message(
        one.message_id, body, one.table_name, one.action, one.event_count, one.first_event, one.last_event, None
    )
