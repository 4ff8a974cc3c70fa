"""One term of leading: the connections, the stages that all webhooks share, and a service for each webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog
from psycopg import AsyncConnection

from cdc_hooks.changelog import registry
from cdc_hooks.changelog.connection import ConnectionLost, connect
from cdc_hooks.changelog.housekeeping import Housekeeper
from cdc_hooks.changelog.journal import Journal
from cdc_hooks.changelog.lease import Lease
from cdc_hooks.changelog.listener import Listener
from cdc_hooks.changelog.pulse import Head, Pulse
from cdc_hooks.changelog.reader import Reader
from cdc_hooks.changelog.registry import Server
from cdc_hooks.chores import AUDIT_S, NOTES_S, TIDY_S, Chores
from cdc_hooks.config import Config
from cdc_hooks.deliver.ledger import Ledger
from cdc_hooks.errors import DatabaseError
from cdc_hooks.ops.capture_watch import CaptureWatch
from cdc_hooks.ops.health import Health
from cdc_hooks.ops.metrics import Metrics
from cdc_hooks.ops.notices import Notices
from cdc_hooks.reach import Reach
from cdc_hooks.service import Service, Stages

GRACE_S = 10.0
"""How long attempts that are under way may take to finish when the daemon stops."""

HEED_S = 15.0
"""How long an operator waits at most, where notifications do not arrive."""

log = structlog.get_logger()


class Term:
    """From taking the lead to the end of it. Made by ``Term.open``."""

    def __init__(
        self,
        config: Config,
        stages: Stages,
        *,
        pulse: Pulse,
        listener: Listener,
        keeper: Housekeeper,
        chores: Chores,
        why_no_doorbell: str | None,
    ) -> None:
        self._config = config
        self._stages = stages
        self._pulse = pulse
        self._listener = listener
        self._keeper = keeper
        self._chores = chores
        self._services: dict[str, Service] = {}
        self._tasks: dict[Service, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._stopping = False
        self.has_led = False
        self.why_no_doorbell = why_no_doorbell

    @classmethod
    async def open(
        cls,
        stack: AsyncExitStack,
        config: Config,
        connection: AsyncConnection[Any],
        *,
        server: Server,
        lease: Lease,
        health: Health,
        metrics: Metrics,
        notices: Notices,
    ) -> Term:
        """Connect, and settle what must be settled before anything is sent. ``stack`` closes the connections."""

        async def another(part: str) -> AsyncConnection[Any]:
            opened = await connect(config.database.dsn.get_secret_value(), part, pooled=server.pooled)
            stack.push_async_callback(opened.close)
            return opened

        live, history = await another("reader"), await another("history")
        tidy = await another("housekeeping")
        listener = Listener(await another("listener"))
        await listener.begin()
        why_no_doorbell = await _why_no_doorbell(server, listener, tidy)
        journal = Journal(connection, lease)
        epoch_of = await registry.settle_epoch(connection, journal)
        # Before anybody is told that we lead: from here on a new webhook gets what is written.
        await registry.register(connection, journal, _starts(config))
        head = Head(await registry.newest_tick(connection))
        dsn = config.database.dsn.get_secret_value()
        ledger = Ledger(
            lambda: connect(dsn, "ledger", pooled=server.pooled), lease, config.ledger, metrics.ledger_lost.inc
        )
        stack.push_async_callback(ledger.close)
        stages = Stages(
            connection=connection,
            lease=lease,
            journal=journal,
            reader=Reader(live, history, webhooks=len(config.webhooks), on_read=metrics.read),
            head=head,
            ledger=ledger,
            health=health,
            epoch_of=epoch_of,
            installation=await registry.installation(connection),
        )
        keeper = Housekeeper(tidy, lease, history_s=config.change_log.history)
        return cls(
            config,
            stages,
            pulse=Pulse(journal, head, listener.bell, doorbell=why_no_doorbell is None, on_read=metrics.read),
            listener=listener,
            keeper=keeper,
            chores=Chores(
                keeper=keeper,
                watch=CaptureWatch(tidy, metrics, notices),
                ledger=ledger,
                health=health,
                metrics=metrics,
                notices=notices,
            ),
            why_no_doorbell=why_no_doorbell,
        )

    async def run(self) -> None:
        """Until stopped. Raises Superseded or ConnectionLost when the lead or the database is lost."""
        await first_of(
            self._lead(),
            self._pulse.run(),
            self._listener.run(),
            self._heed(),
            _every(NOTES_S, lambda: self._chores.write_notes(list(self._services.values()), self._stages.head.tick)),
            _every(TIDY_S, lambda: self._chores.clean_up(list(self._services.values()), self._config)),
            _every(TIDY_S, lambda: self._chores.tidy_ledger(self._config)),
            _every(AUDIT_S, lambda: self._chores.audit(self._config)),
        )

    def stop(self) -> None:
        """Finish what is under way, within a bound, and let ``run`` end. May be called before it, and twice."""
        self._stopping = True
        self._changed.set()

    def reload(self, config: Config) -> None:
        """Serve what the new configuration says. Webhooks that it does not change go on undisturbed."""
        self._config = config
        self._keeper.history_s = config.change_log.history
        self._stages.ledger.rules = config.ledger
        self._changed.set()

    async def _heed(self) -> None:
        """Do what operators have told the webhooks, now and from now on."""
        told = self._listener.told
        while True:
            controls = await registry.controls(self._stages.connection)
            for service in {*self._services.values(), *self._tasks}:  # also those that are about to leave
                if service.webhook_id in controls:
                    service.heed(controls[service.webhook_id])
            with suppress(TimeoutError):
                async with asyncio.timeout(HEED_S):
                    await told.wait()
            told.clear()

    async def _lead(self) -> None:
        try:
            while not self._stopping:
                self._changed.clear()
                await self._arrange(self._config)
                self.has_led = True
                await self._until_changed()
            await self._dismiss()
        finally:
            await cancel(*self._tasks.values())
        await self._chores.write_notes(list(self._services.values()), self._stages.head.tick)

    async def _arrange(self, config: Config) -> None:
        """A service for each webhook of the configuration; one that it has otherwise follows the one that there is."""
        stages, reach = self._stages, Reach.of(config)
        ids = await registry.register(stages.connection, stages.journal, _starts(config))
        stages.reader.serve(len(config.webhooks))
        stages.head.advance(await registry.newest_tick(stages.connection))
        before, self._services = self._services, {}
        for name, webhook in config.webhooks.items():
            old = before.pop(name, None)
            if old is not None and (old.webhook, old.reach) == (webhook, reach):
                self._services[name] = old
                continue
            if old is not None:
                old.leave_to(webhook)
            service = self._services[name] = Service(name, ids[name], webhook, reach, stages)
            self._tasks[service] = asyncio.create_task(service.run(self._last_task(name)))
        for gone in before.values():
            gone.leave(for_good=True)
        await self._chores.count_dead_letters(list(self._services.values()))

    def _last_task(self, name: str) -> asyncio.Task[None] | None:
        """That of the latest service of this name which has not ended yet, if there is one."""
        return next((task for service, task in reversed(self._tasks.items()) if service.name == name), None)

    async def _until_changed(self) -> None:
        """Until there is a new configuration, or the wish to stop. What a service raises meanwhile is raised."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            while not changed.done():
                await asyncio.wait([changed, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
                for service, task in list(self._tasks.items()):
                    if task.done():
                        del self._tasks[service]
                        task.result()
        finally:
            await cancel(changed)

    async def _dismiss(self) -> None:
        """Tell all to leave, and wait for it, but not for ever."""
        for service in self._tasks:
            service.leave()
        if self._tasks:
            done, late = await asyncio.wait(self._tasks.values(), timeout=GRACE_S)
            if late:
                log.warning("attempts_cut_off", webhooks=len(late), after_s=GRACE_S)
            for task in done:
                task.result()


async def _why_no_doorbell(server: Server, listener: Listener, other: AsyncConnection[Any]) -> str | None:
    if server.prepared_transactions:
        return "max_prepared_transactions > 0: a NOTIFY would make PREPARE TRANSACTION fail"
    if server.pooled and not await listener.works(other):
        return "notifications do not arrive: behind a transaction pooler LISTEN does not work"
    return None


def _starts(config: Config) -> dict[str, str]:
    return {name: webhook.start.value for name, webhook in config.webhooks.items()}


async def _every(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    """Do it again and again. What it cannot do is no reason to stop delivering."""
    while True:
        try:
            await chore()
        except ConnectionLost:
            raise
        except DatabaseError as error:
            log.error("chore_failed", error=error.message, hint=error.hint)  # noqa: TRY400 - not a fault of ours
        await asyncio.sleep(seconds)


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
