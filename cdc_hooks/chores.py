"""What the leading daemon does beside delivering: notes for ``status``, gauges, space, the audit of the captures."""

from __future__ import annotations

import time
from collections.abc import Collection

import structlog

from cdc_hooks import assembly
from cdc_hooks.changelog.housekeeping import Housekeeper
from cdc_hooks.config import Config, WhenFull
from cdc_hooks.deliver.ledger import Ledger
from cdc_hooks.ops.capture_watch import CaptureWatch
from cdc_hooks.ops.health import Health
from cdc_hooks.ops.metrics import Metrics
from cdc_hooks.service import Service

NOTES_S = 2.0
TIDY_S = 60.0
AUDIT_S = 60.0
TIDY_LEDGER_S = 3600.0
"""A ledger in which nothing is recorded is tidied no oftener than this."""

log = structlog.get_logger()


class Chores:
    """Each is a coroutine that does it once."""

    def __init__(
        self, keeper: Housekeeper, watch: CaptureWatch, ledger: Ledger, health: Health, metrics: Metrics
    ) -> None:
        self._keeper = keeper
        self._watch = watch
        self._ledger = ledger
        self._next_tidying = time.monotonic()
        self._health = health
        self._metrics = metrics

    async def write_notes(self, services: Collection[Service], newest_tick: int) -> None:
        """What status shows, and how far each webhook is behind."""
        ids = {service.name: service.webhook_id for service in services}
        for name, note in self._health.take().items():
            if name in ids:
                await self._keeper.note_webhook(ids[name], note)
        places = {
            service.webhook_id: (service.worker.progress.lo_tick, service.worker.progress.after_id)
            for service in services
            if service.worker is not None
        }
        # At the newest tick nothing waits: ids after it are of transactions that still run, or were rolled back.
        late = {webhook_id: place for webhook_id, place in places.items() if place[0] < newest_tick}
        behind = await self._keeper.behind(late) if late else {}
        for name, webhook_id in ids.items():
            backlog, lag_s = behind.get(webhook_id, (0, 0.0))
            self._metrics.backlog.labels(name).set(backlog)
            self._metrics.lag.labels(name).set(lag_s)

    async def clean_up(self, services: Collection[Service], config: Config) -> None:
        """Trim, give back space, keep the budget, measure."""
        await self._keeper.trim()
        emptied = await self._keeper.reclaim()
        if emptied:
            log.info("log_reclaimed", partitions=emptied)
        log_bytes, queue = await self._keeper.sizes()
        log_bytes = await self._keep_budget(log_bytes, services, config)
        self._metrics.log_bytes.set(log_bytes)
        self._metrics.log_rows.set(await self._keeper.rows())
        self._metrics.notify_queue.set(queue)
        await self.count_dead_letters(services)

    async def count_dead_letters(self, services: Collection[Service]) -> None:
        dead = await self._keeper.dead_letters()
        for service in services:
            self._metrics.dead_letters.labels(service.name).set(dead.get(service.name, 0))

    async def tidy_ledger(self, config: Config) -> None:
        """Room for what comes, and no more on disk than is wanted; not if nothing was recorded since the last time."""
        if not self._ledger.used and time.monotonic() < self._next_tidying:
            return
        self._ledger.used = False
        tidied = await self._keeper.tidy_ledger(config.ledger.keep, config.ledger.max_bytes)
        self._next_tidying = time.monotonic() + (TIDY_S if tidied.busy else TIDY_LEDGER_S)
        self._metrics.ledger_bytes.set(tidied.bytes)
        if tidied.dropped:
            log.info("ledger_trimmed", partitions=tidied.dropped, bytes=tidied.bytes)

    async def audit(self, config: Config) -> None:
        await self._watch.look(assembly.wanted(config))

    async def _keep_budget(self, log_bytes: int, services: Collection[Service], config: Config) -> int:
        """Above the budget: raise the alarm, or drop the oldest and have the receivers told. Returns the bytes then."""
        budget = config.change_log
        while budget.max_bytes is not None and log_bytes > budget.max_bytes:
            dropped = await self._keeper.drop_oldest() if budget.when_full is WhenFull.DROP_OLDEST else None
            if dropped is None:
                log.error(
                    "log_over_budget",
                    bytes=log_bytes,
                    max_bytes=budget.max_bytes,
                    hint="see cdc-hooks status for the webhook that is behind; nothing is dropped",
                )
                break
            log_bytes, _ = await self._keeper.sizes()
            log.error("log_dropped", partition=dropped, bytes=log_bytes, max_bytes=budget.max_bytes)
            for service in services:
                if service.worker is not None:
                    service.worker.look_for_gaps()
        return log_bytes
