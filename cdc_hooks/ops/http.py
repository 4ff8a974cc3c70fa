"""``/metrics``, ``/healthz`` and ``/readyz`` on one port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from cdc_hooks.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the daemon does its work, and why not, in words."""

    ready: bool
    why: str


class OpsServer:
    """Healthy: the process runs. Ready: it has its database, and leads or stands by."""

    def __init__(self, registry: CollectorRegistry, readiness: Callable[[], Readiness]) -> None:
        self._registry = registry
        self._readiness = readiness
        self._runner: web.AppRunner | None = None

    async def start(self, host: str | None, port: int) -> None:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"metrics.listen: cannot listen on {host or 'all addresses'}, port {port}: {error.strerror or error}",
                hint="choose another port, or stop what listens there (another cdc-hooks?)",
            ) from error

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # In a thread: with many webhooks it takes long enough to be seen in the latency of deliveries.
        body = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        state = self._readiness()
        return web.Response(text=f"{state.why}\n", status=200 if state.ready else 503)
