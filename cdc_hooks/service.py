"""One webhook being served: a worker after the other, from its configuration to the wish that it leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from psycopg import AsyncConnection

from cdc_hooks import assembly
from cdc_hooks.changelog import registry
from cdc_hooks.changelog.connection import ConnectionLost, encoding_of
from cdc_hooks.changelog.journal import Journal
from cdc_hooks.changelog.lease import Lease
from cdc_hooks.changelog.pulse import Head
from cdc_hooks.changelog.reader import Reader
from cdc_hooks.config import OnPoison, Ordering, Webhook
from cdc_hooks.deliver.controls import Controls
from cdc_hooks.deliver.courier import Courier
from cdc_hooks.deliver.judge import Judge
from cdc_hooks.deliver.ledger import Ledger
from cdc_hooks.deliver.post import Sender
from cdc_hooks.deliver.worker import Worker
from cdc_hooks.errors import CdcHooksError, DatabaseError, Superseded
from cdc_hooks.ops.health import Health
from cdc_hooks.reach import Reach
from cdc_hooks.shape import render

RESTART_S = 5.0
"""Before a worker that broke by a fault of ours is begun again."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Stages:
    """What all webhooks of a term share."""

    connection: AsyncConnection[Any]
    lease: Lease
    journal: Journal
    reader: Reader
    head: Head
    ledger: Ledger
    health: Health
    epoch_of: Callable[[int], int]
    installation: str


class Service:
    """A webhook as one configuration has it. Another configuration of it is another service, which follows this one."""

    def __init__(self, name: str, webhook_id: int, webhook: Webhook, reach: Reach, stages: Stages) -> None:
        self.name = name
        self.webhook_id = webhook_id
        self.webhook = webhook
        self.reach = reach
        self.worker: Worker | None = None
        self._courier: Courier | None = None
        self._control: registry.Control | None = None
        self._stages = stages
        self._leaving = asyncio.Event()
        self._for_good = False

    def leave(self, *, for_good: bool = False) -> None:
        """Finish the attempts that are under way, then end. ``for_good``: the webhook is no longer configured."""
        self._for_good = for_good
        self._end(after_batches=False)

    def leave_to(self, webhook: Webhook) -> None:
        """End for another configuration of this webhook; if that makes other batches, finish those under way before."""
        self._end(after_batches=self._shape_of(webhook) != self._shape_of(self.webhook))

    def _shape_of(self, webhook: Webhook) -> str:
        return assembly.Plan.of(self.name, webhook, self._stages.installation).shape.fingerprint()

    def _end(self, *, after_batches: bool) -> None:
        self._leaving.set()
        if self.worker is not None:
            self.worker.stop(after_batches=after_batches)

    def heed(self, control: registry.Control) -> None:
        """An operator may have paused or resumed it."""
        known, self._control = self._control, control
        if self._courier is None or known is None:
            return  # who begins looks for himself
        if control.resume_from is not None and self.worker is not None:
            self.worker.stop()  # the next one moves
        elif control.resumed_at != known.resumed_at:
            log.info("resumed", webhook=self.name)
            self._courier.resume()
        if control.paused_by == "operator" and control != known:
            log.info("paused", webhook=self.name, reason=control.paused_why)
            self._courier.pause(control.paused_why or "", by_itself=False)

    async def run(self, after: asyncio.Task[None] | None = None) -> None:
        """Serve until told to leave, beginning when ``after`` has ended. Raises Superseded and ConnectionLost.

        What breaks one webhook must not break the rest: it is logged, and the worker begun again.
        """
        if after is not None:
            await asyncio.wait([after])
            if not self._leaving.is_set():
                log.info("reloaded", webhook=self.name)
        health = self._stages.health
        health.watch(self.name)
        while not self._leaving.is_set():
            try:
                await self._work()
            except (Superseded, ConnectionLost):
                raise
            except CdcHooksError as error:
                about = {"webhook": self.name, "error": error.message, "hint": error.hint}
                log.error("worker_failed", **about, retry_in_s=RESTART_S)  # noqa: TRY400 - not a fault of ours
                self._broke(error.message)
            except Exception as error:
                log.exception("worker_failed", webhook=self.name, retry_in_s=RESTART_S)
                self._broke(f"a fault of cdc-hooks ({type(error).__name__}), see its log")
            else:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTART_S):
                    await self._leaving.wait()
        if self._for_good:
            health.forget(self.name)

    async def _move(self) -> None:
        """Go on from another place, if an operator wants it."""
        stages = self._stages
        to = (await registry.controls(stages.connection))[self.webhook_id].resume_from
        if to is not None:
            tick = await registry.move(stages.connection, stages.journal, self.webhook_id, to)
            stages.head.advance(await registry.newest_tick(stages.connection))
            log.warning("moved", webhook=self.name, to=to, tick=tick)

    def _broke(self, error: str) -> None:
        health = self._stages.health
        health.failing(self.name, error)
        health.turned(self.name, "retrying", None)

    async def _work(self) -> None:
        stages = self._stages
        plan = assembly.Plan.of(self.name, self.webhook, stages.installation)
        await self._move()
        progress = await registry.progress_of(stages.connection, self.webhook_id)
        if progress is None:
            raise DatabaseError(f"webhook {self.name} has no progress recorded", hint="run: cdc-hooks check")
        sender = plan.sender(self.reach)
        try:
            courier = await self._new_courier(plan, sender)
            self.worker = Worker(
                self.webhook_id,
                progress,
                plan.shape,
                courier,
                journal=stages.journal,
                reader=stages.reader,
                head=stages.head,
                epoch_of=stages.epoch_of,
                on_gap=partial(stages.health.missed, self.name),
                max_wait_s=plan.max_wait_s,
                described=await registry.described_shape(stages.connection, self.webhook_id),
            )
            if self._leaving.is_set():
                self.worker.stop()
            await self.worker.run()
        finally:
            self._courier = None
            await sender.aclose()

    async def _new_courier(self, plan: assembly.Plan, sender: Sender) -> Courier:
        stages, webhook = self._stages, self.webhook
        ledger = stages.ledger.of(self.webhook_id, plan.endpoint())
        courier = Courier(
            self.name,
            sender,
            plan.keys,
            Judge(plan.policy, partial_ack=webhook.partial_ack, keep_order=webhook.ordering is not Ordering.NONE),
            plan.gate,
            render=lambda batch: render(batch, plan.shape, stages.epoch_of),
            pause_after=webhook.pause_after,
            hold_rows=webhook.on_poison is OnPoison.HOLD_ROW,
            ledger=ledger,
            controls=Controls(stages.journal, self.webhook_id, encoding_of(stages.connection)),
            lease=stages.lease,
            observer=stages.health,
            unfinished=await ledger.unfinished(),
        )
        self._control = (await registry.controls(stages.connection))[self.webhook_id]
        if self._control.paused_why is not None:
            courier.pause(self._control.paused_why, by_itself=self._control.paused_by == "policy")
        courier.tell_state()
        self._courier = courier
        return courier
