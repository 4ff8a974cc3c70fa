"""What the leading daemon does beside delivering: notes for ``status``, gauges, space, the audit of the captures."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from dataclasses import asdict

import structlog

from cdc_hooks import assembly
from cdc_hooks.changelog.housekeeping import Housekeeper, Sizes
from cdc_hooks.config import Config, WhenFull
from cdc_hooks.config.units import rough_size
from cdc_hooks.deliver.ledger import Ledger
from cdc_hooks.model import Cause
from cdc_hooks.ops.capture_watch import CaptureWatch
from cdc_hooks.ops.health import Health
from cdc_hooks.ops.metrics import Metrics
from cdc_hooks.ops.notices import Notices
from cdc_hooks.service import Service

NOTES_S = 2.0
TIDY_S = 60.0
AUDIT_S = 60.0
TIDY_LEDGER_S = 3600.0
"""A ledger in which nothing is recorded is tidied no oftener than this."""

NEARLY = 0.8
"""From this part of the disk budget on somebody is told."""
_BEHIND = "see cdc-hooks status for the webhook that is behind"

log = structlog.get_logger()


class Chores:
    """Each is a coroutine that does it once."""

    def __init__(
        self,
        *,
        keeper: Housekeeper,
        watch: CaptureWatch,
        ledger: Ledger,
        health: Health,
        metrics: Metrics,
        notices: Notices,
    ) -> None:
        self._keeper = keeper
        self._watch = watch
        self._ledger = ledger
        self._next_tidying = time.monotonic()
        self._health = health
        self._metrics = metrics
        self._notices = notices
        self._filled = 0.0

    async def write_notes(self, services: Collection[Service], newest_tick: int) -> None:
        """What status shows, and how far each webhook is behind."""
        ids = {service.name: service.webhook_id for service in services}
        for name, note in self._health.take(self._keeper.server_encoding).items():
            if name in ids:
                await self._keeper.note_webhook(ids[name], note)
        for name, sums in self._health.take_sums().items():
            if name in ids:
                await self._keeper.note_hour(ids[name], asdict(sums))
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
        sizes = await self._keep_budget(await self._keeper.sizes(), services, config)
        self._metrics.log_bytes.set(sizes.log_bytes)
        self._metrics.log_max_bytes.set(config.change_log.max_bytes or math.inf)
        self._metrics.log_rows.set(sizes.log_rows)
        self._metrics.notify_queue.set(sizes.notify_queue)
        await self.count_dead_letters(services)

    async def count_dead_letters(self, services: Collection[Service]) -> None:
        dead = await self._keeper.dead_letters()
        for service in services:
            letters, held = dead.get(service.name, (0, 0))
            self._metrics.dead_letters.labels(service.name).set(letters)
            self._metrics.held.labels(service.name).set(held)

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

    async def _keep_budget(self, sizes: Sizes, services: Collection[Service], config: Config) -> Sizes:
        """Above the budget: raise the alarm, or drop the oldest and have the receivers told. Returns the sizes then.

        What every webhook has got goes first: that is no loss, but of history.
        """
        budget = config.change_log
        before = self._filled
        while budget.max_bytes is not None and sizes.log_bytes > budget.max_bytes:
            cut = await self._keeper.cut_history() if budget.when_full is WhenFull.DROP_OLDEST else None
            if cut is not None:
                sizes = await self._keeper.sizes()
                log.warning("history_cut", partition=cut, bytes=sizes.log_bytes, max_bytes=budget.max_bytes)
                continue
            dropped = await self._keeper.drop_oldest() if budget.when_full is WhenFull.DROP_OLDEST else None
            if dropped is None:
                log.error(
                    "log_over_budget",
                    bytes=sizes.log_bytes,
                    max_bytes=budget.max_bytes,
                    hint="see cdc-hooks status for the webhook that is behind; nothing is dropped",
                )
                break
            sizes = await self._keeper.sizes()
            self._metrics.log_dropped.inc()
            log.error("log_dropped", partition=dropped, bytes=sizes.log_bytes, max_bytes=budget.max_bytes)
            what = f"it was above {rough_size(budget.max_bytes)}, and its oldest part was dropped"
            self._notices.tell(Cause.DISK_FULL, None, what, f"{_BEHIND}: it may have missed changes")
            for service in services:
                if service.worker is not None:
                    service.worker.look_for_gaps()
        self._filled = sizes.log_bytes / budget.max_bytes if budget.max_bytes else 0.0
        if budget.max_bytes is not None:
            self._tell_of_budget(before, sizes.log_bytes, budget.max_bytes)
        return sizes

    def _tell_of_budget(self, before: float, log_bytes: int, max_bytes: int) -> None:
        """When it has come above one of the marks; not again while it stays there."""
        what = f"it has {rough_size(log_bytes)} of {rough_size(max_bytes)} on disk"
        if before <= 1 < self._filled:
            hint = f"{_BEHIND}, and make change_log.max_bytes larger if need be"
            self._notices.tell(Cause.DISK_FULL, None, f"{what}; nothing is dropped", hint)
        elif before < NEARLY <= self._filled <= 1:
            self._notices.tell(Cause.DISK_BUDGET, None, what, _BEHIND)
