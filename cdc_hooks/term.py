"""One term of leading: the connections, the stages, and the tasks beside them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import structlog

from cdc_hooks import assembly
from cdc_hooks.changelog import registry
from cdc_hooks.changelog.connection import ConnectionLost, connect, scan_in_order
from cdc_hooks.changelog.housekeeping import Housekeeper
from cdc_hooks.changelog.journal import Journal
from cdc_hooks.changelog.listener import Listener
from cdc_hooks.changelog.pulse import Head, Pulse
from cdc_hooks.changelog.reader import Reader
from cdc_hooks.config import WhenFull
from cdc_hooks.deliver.courier import Courier
from cdc_hooks.deliver.ledger import Ledger
from cdc_hooks.deliver.worker import Worker
from cdc_hooks.errors import DatabaseError, Superseded
from cdc_hooks.ops.capture_watch import CaptureWatch

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from psycopg import AsyncConnection

    from cdc_hooks.changelog.lease import Lease
    from cdc_hooks.changelog.registry import Server
    from cdc_hooks.config import Config
    from cdc_hooks.ops.health import Health
    from cdc_hooks.ops.metrics import Metrics

GRACE_S = 10.0
"""How long attempts that are under way may take to finish when the daemon stops or reloads."""
NOTES_S = 2.0
AUDIT_S = 60.0
TIDY_S = 60.0
RESTART_S = 5.0

log = structlog.get_logger()


class Term:
    """From taking the lead to the end of it."""

    def __init__(
        self,
        config: Config,
        dsn: str,
        *,
        connection: AsyncConnection[Any],
        server: Server,
        lease: Lease,
        health: Health,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._dsn = dsn
        self._connection = connection
        self._server = server
        self._lease = lease
        self._health = health
        self._metrics = metrics
        self._journal = Journal(connection, lease)
        self._workers: dict[str, Worker] = {}
        self._ids: dict[str, int] = {}
        self._stopping = False
        self._again = asyncio.Event()
        self.has_led = False
        self.why_no_doorbell: str | None = None

    @property
    def has_doorbell(self) -> bool:
        return self.why_no_doorbell is None

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect, and settle what must be settled before anything is sent."""
        live, history, ledger, tidy, ear = [
            await self._connect(stack, part) for part in ("reader", "history", "ledger", "housekeeping", "listener")
        ]
        for reading in (live, history):
            await scan_in_order(reading)
        self._reader = Reader(live, history, webhooks=len(self._config.webhooks), on_read=self._metrics.read)
        self._ledger = Ledger(ledger)
        self._tidy = Housekeeper(tidy, self._lease, history_s=self._config.change_log.history)
        self._watch = CaptureWatch(tidy, self._metrics)
        self._listener = Listener(ear)
        await self._listener.begin()
        if self._server.prepared_transactions:
            self.why_no_doorbell = "max_prepared_transactions > 0: a NOTIFY would make PREPARE TRANSACTION fail"
        elif self._server.pooled and not await self._listener.works(tidy):
            self.why_no_doorbell = "notifications do not arrive: behind a transaction pooler LISTEN does not work"
        self._epoch_of = await registry.settle_epoch(self._connection)
        self._installation = await registry.installation(self._connection)
        # Before anybody is told that we lead: from here on a new webhook gets what is written.
        self._ids = await self._register(self._config)
        self._head = Head(await registry.newest_tick(self._connection))
        self._pulse = Pulse(self._journal, self._head, self._listener.bell, doorbell=self.has_doorbell)

    async def run(self) -> None:
        """Until stopped. Raises Superseded or ConnectionLost when the lead or the database is lost."""
        await first_of(
            self._lead(),
            self._pulse.run(),
            self._listener.run(),
            self._every(NOTES_S, self._write_notes),
            self._every(TIDY_S, self._clean_up),
            self._every(AUDIT_S, self._audit),
        )

    def stop(self) -> None:
        self._stopping = True
        self._end_round()

    def reload(self, config: Config) -> None:
        self._config = config
        self._tidy.history_s = config.change_log.history
        self._end_round()

    def _end_round(self) -> None:
        self._again.set()
        for worker in self._workers.values():
            worker.stop()

    # -- webhooks -------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """A worker for each webhook of the configuration; all anew after a reload."""
        while not self._stopping:
            self._again.clear()
            config = self._config
            self._ids = await self._register(config)
            self._head.tick = max(self._head.tick, await registry.newest_tick(self._connection))
            for gone in set(self._workers) - set(self._ids):
                self._health.forget(gone)
            self._workers = {}
            await self._count_dead_letters()
            running = [asyncio.create_task(self._serve_webhook(name, config)) for name in self._ids]
            self.has_led = True
            again = asyncio.create_task(self._again.wait())
            try:
                await asyncio.wait([again, *running], return_when=asyncio.FIRST_COMPLETED)
                if self._again.is_set() and running:
                    _, late = await asyncio.wait(running, timeout=GRACE_S)
                    if late:
                        log.warning("attempts_cut_off", webhooks=len(late), after_s=GRACE_S)
                for task in running:
                    if task.done():
                        task.result()
                if not running:
                    await again
            finally:
                await cancel(again, *running)
        await self._write_notes()

    async def _register(self, config: Config) -> dict[str, int]:
        starts = {name: webhook.start.value for name, webhook in config.webhooks.items()}
        return await registry.register(self._connection, self._journal, starts)

    async def _serve_webhook(self, name: str, config: Config) -> None:
        """One worker after the other: what breaks one, by a fault of ours, must not break the rest."""
        webhook = config.webhooks[name]
        self._health.watch(name)
        while not self._again.is_set():
            try:
                await self._work(name, assembly.Plan.of(name, webhook, self._installation))
            except (Superseded, ConnectionLost):
                raise
            except Exception:
                log.exception("worker_failed", webhook=name, retry_in_s=RESTART_S)
                await asyncio.sleep(RESTART_S)

    async def _work(self, name: str, plan: assembly.Plan) -> None:
        webhook_id = self._ids[name]
        progress = await registry.progress_of(self._connection, webhook_id)
        if progress is None:
            raise DatabaseError(f"webhook {name} has no progress recorded", hint="run: cdc-hooks check")
        sender = plan.sender()
        try:
            courier = Courier(
                name,
                webhook_id,
                sender,
                plan.keys,
                plan.policy,
                ledger=self._ledger,
                lease=self._lease,
                observer=self._health,
                unfinished=await self._ledger.unfinished(webhook_id),
            )
            worker = self._workers[name] = Worker(
                webhook_id,
                progress,
                plan.shape,
                courier,
                journal=self._journal,
                reader=self._reader,
                head=self._head,
                epoch_of=self._epoch_of,
                max_wait_s=plan.max_wait_s,
            )
            if self._again.is_set():
                worker.stop()
            await worker.run()
        finally:
            await sender.aclose()

    # -- beside them ----------------------------------------------------------------------------------------------

    async def _write_notes(self) -> None:
        for name, note in self._health.take().items():
            if name in self._ids:
                await self._tidy.note_webhook(self._ids[name], note)
        places = {self._ids[name]: _place(worker) for name, worker in self._workers.items()}
        # At the newest tick nothing waits: ids after it are of transactions that still run, or were rolled back.
        late = {webhook: place for webhook, place in places.items() if place[0] < self._head.tick}
        behind = await self._tidy.behind(late) if late else {}
        for name in self._workers:
            backlog, lag_s = behind.get(self._ids[name], (0, 0.0))
            self._metrics.backlog.labels(name).set(backlog)
            self._metrics.lag.labels(name).set(lag_s)

    async def _clean_up(self) -> None:
        await self._tidy.trim()
        emptied = await self._tidy.reclaim()
        if emptied:
            log.info("log_reclaimed", partitions=emptied)
        log_bytes, queue = await self._tidy.sizes()
        log_bytes = await self._keep_budget(log_bytes)
        self._metrics.log_bytes.set(log_bytes)
        self._metrics.log_rows.set(await self._tidy.rows())
        self._metrics.notify_queue.set(queue)
        await self._count_dead_letters()

    async def _count_dead_letters(self) -> None:
        dead = await self._tidy.dead_letters()
        for name in self._ids:
            self._metrics.dead_letters.labels(name).set(dead.get(name, 0))

    async def _keep_budget(self, log_bytes: int) -> int:
        """Above the budget: raise the alarm, or drop the oldest and have the receivers told. Returns the bytes then."""
        budget = self._config.change_log
        while budget.max_bytes is not None and log_bytes > budget.max_bytes:
            dropped = await self._tidy.drop_oldest() if budget.when_full is WhenFull.DROP_OLDEST else None
            if dropped is None:
                log.error(
                    "log_over_budget",
                    bytes=log_bytes,
                    max_bytes=budget.max_bytes,
                    hint="see cdc-hooks status for the webhook that is behind; nothing is dropped",
                )
                break
            log_bytes, _ = await self._tidy.sizes()
            log.error("log_dropped", partition=dropped, bytes=log_bytes, max_bytes=budget.max_bytes)
            for worker in self._workers.values():
                worker.look_for_gaps()
        return log_bytes

    async def _audit(self) -> None:
        await self._watch.look(assembly.wanted(self._config))

    async def _every(self, seconds: float, action: Any) -> None:
        while True:
            await action()
            await asyncio.sleep(seconds)

    async def _connect(self, stack: AsyncExitStack, part: str) -> AsyncConnection[Any]:
        connection = await connect(self._dsn, part, pooled=self._server.pooled)
        stack.push_async_callback(connection.close)
        return connection


def _place(worker: Worker) -> tuple[int, int]:
    progress = worker.progress
    return progress.lo_tick, progress.after_id


async def first_of(main: Coroutine[Any, Any, None], *beside: Coroutine[Any, Any, None]) -> None:
    """Run all; end with the first that ends, raising what it raised. The others are cancelled and waited for."""
    tasks = [asyncio.create_task(one) for one in (main, *beside)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        await cancel(*tasks)


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end, whatever it is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
