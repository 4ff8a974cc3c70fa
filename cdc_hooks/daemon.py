"""The daemon: joins the stages. Read it from top to bottom and you meet them in order.

``run`` lives as long as the process. A *term* is one stretch of leading: from taking the lead to losing it, the
connection, or the wish to go on. Within a term there is a worker for each webhook, and a few tasks beside them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvloop

from cdc_hooks import __version__, assembly
from cdc_hooks.changelog import registry
from cdc_hooks.changelog.connection import ConnectionLost, connect, settle_session
from cdc_hooks.changelog.lease import BEAT_S, Lease, new_holder, release_lead, take_lead
from cdc_hooks.config import Config, load
from cdc_hooks.errors import CdcHooksError, ConfigError, Superseded
from cdc_hooks.ops import systemd
from cdc_hooks.ops.health import Health
from cdc_hooks.ops.http import OpsServer, Readiness
from cdc_hooks.ops.metrics import Metrics
from cdc_hooks.ops.notices import Notices
from cdc_hooks.term import Term, cancel

if TYPE_CHECKING:
    from psycopg import AsyncConnection

RECONNECT_MAX_S = 10.0
STUCK_S = 60.0
"""Waiting for the database or for the lead, the daemon asks again more often than this; else it is stuck."""
RELEASE_S = 2.0
FAREWELL_S = 5.0
"""How long the daemon, when it stops, tries to send the notices that are not sent yet."""

log = structlog.get_logger()


def run(config: Config, path: Path) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status; raises CdcHooksError for what a person must mend."""
    return uvloop.run(Daemon(config, path).run())


class Daemon:
    """The process: signals, the metrics port, and one term after the other."""

    def __init__(self, config: Config, path: Path) -> None:
        self._config = config
        self._path = path
        self._holder = new_holder()
        self._metrics = Metrics()
        self._notices = Notices(self._metrics)
        self._health = Health(self._metrics, self._notices)
        self._readiness = Readiness(ready=False, why="starting")
        token = config.metrics.token
        self._server = OpsServer(
            self._metrics.registry, self._ready, token=None if token is None else token.get_secret_value()
        )
        self._stopping = asyncio.Event()
        self._term: Term | None = None
        self._lease: Lease | None = None
        self._asked_at = time.monotonic()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        if self._config.metrics.listen is not None:
            host, _, port = self._config.metrics.listen.rpartition(":")
            await self._server.start(host.strip("[]") or None, int(port))
        log.info("starting", version=__version__, config=str(self._path), pid=os.getpid())
        # Pages are thousands of tuples without cycles: looking through them often finds nothing.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        watchdog = asyncio.create_task(systemd.feed_watchdog(self._gets_on))
        self._configure_notices()
        telling = asyncio.create_task(self._notices.run())
        try:
            await self._serve()
        finally:
            await self._notices.flush(FAREWELL_S)
            await cancel(telling)
            watchdog.cancel()
            systemd.notify("STOPPING=1")
            await self._server.stop()
        log.info("stopped")
        return 0

    async def _serve(self) -> None:
        """Terms, with pauses between those that failed."""
        pause = 0.5
        while not self._stopping.is_set():
            self._asked_at = time.monotonic()
            try:
                await self._lead_once()
                pause = 0.5
            except Superseded as error:
                log.warning("superseded", reason=error.message)
            except ConnectionLost as error:
                self._say(ready=False, why=f"waiting for the database: {error.message}")
                log.warning("database_unavailable", error=error.message, hint=error.hint, retry_in_s=pause)
                await self._wait(pause)
                pause = min(pause * 2, RECONNECT_MAX_S)
            if self._term is not None and self._term.has_led:
                pause = 0.5
            self._term = None

    async def _lead_once(self) -> None:
        dsn = self._config.database.dsn.get_secret_value()
        async with AsyncExitStack() as stack:
            journal = await connect(dsn, "journal", pooled=True)
            stack.push_async_callback(journal.close)
            server = await registry.examine(journal)
            if not server.pooled:
                await settle_session(journal)
            lease = await self._lead(journal)
            if lease is None:
                return
            stack.push_async_callback(_release, journal, lease)
            term = await Term.open(
                stack,
                self._config,
                journal,
                server=server,
                lease=lease,
                health=self._health,
                metrics=self._metrics,
                notices=self._notices,
            )
            self._term = term
            term.reload(self._config)  # which may have come meanwhile
            stack.callback(self._stand_by)
            self._lease = lease
            self._metrics.leading.set(1)
            self._say(ready=True, why="leading")
            log.info(
                "leading",
                generation=lease.generation,
                webhooks=sorted(self._config.webhooks),
                wakes_by="polling" if term.why_no_doorbell else "notify",
                reason=term.why_no_doorbell,
            )
            if self._stopping.is_set():
                term.stop()
            await term.run()

    async def _lead(self, connection: AsyncConnection[Any]) -> Lease | None:
        """Stand by until nobody leads. None: told to stop."""
        told = False
        while not self._stopping.is_set():
            self._asked_at = time.monotonic()
            lease = await take_lead(connection, self._holder)
            if lease is not None:
                return lease
            if not told:
                holder = await registry.leader(connection)
                self._say(ready=True, why=f"standing by: {holder} leads")
                log.info("standing_by", leader=holder)
                told = True
            await self._wait(BEAT_S)
        return None

    def _stop(self) -> None:
        if self._stopping.is_set():
            return
        log.info("stopping")
        systemd.notify("STOPPING=1")
        self._say(ready=False, why="stopping")
        self._stopping.set()
        if self._term is not None:
            self._term.stop()

    def _reload(self) -> None:
        """SIGHUP: take the new configuration, or keep the old one and say why."""
        systemd.notify_reloading()
        try:
            config = load(self._path)
            if config.database != self._config.database or config.metrics != self._config.metrics:
                raise ConfigError(
                    f"{self._path}: database and metrics cannot change while the daemon runs",
                    hint="restart it: systemctl restart cdc-hooks",
                )
        except CdcHooksError as error:
            # Not a fault of ours: no traceback.
            log.error("reload_refused", error=error.message, hint=error.hint, running="the old configuration")  # noqa: TRY400
        else:
            log.info("reloading", config=str(self._path))
            self._config = config
            self._configure_notices()
            if self._term is not None:
                self._term.reload(config)
        if self._readiness.ready:
            systemd.notify("READY=1")

    def _configure_notices(self) -> None:
        config = self._config
        self._notices.configure(config, lambda: assembly.notice_sender(config))

    def _stand_by(self) -> None:
        self._lease = None
        self._notices.stand_by()
        self._metrics.stand_by()

    def _gets_on(self) -> bool:
        """Whether the work goes on: leading, the pulse renews the lead; else the database was asked not long ago."""
        if self._lease is not None:
            return self._lease.held
        return time.monotonic() - self._asked_at < STUCK_S

    def _ready(self) -> Readiness:
        if self._readiness.ready and not self._gets_on():
            return Readiness(ready=False, why="stuck: the database does not answer")
        return self._readiness

    def _say(self, *, ready: bool, why: str) -> None:
        self._readiness = Readiness(ready, why)
        systemd.notify(*(["READY=1"] if ready else []), f"STATUS={why}")

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


async def _release(connection: AsyncConnection[Any], lease: Lease) -> None:
    try:
        async with asyncio.timeout(RELEASE_S):
            await release_lead(connection, lease)
    except (CdcHooksError, TimeoutError):
        return  # the connection is gone: the lease runs out by itself
