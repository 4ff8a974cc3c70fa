"""``/metrics``, ``/healthz`` and ``/readyz`` on one port.

With a token, ``/metrics`` is for those who send it. Probes seldom can: ``/healthz`` and ``/readyz`` answer everybody,
but ``/readyz`` says in words, which may name the database's host, only to who sends the token.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
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

    def __init__(
        self, registry: CollectorRegistry, readiness: Callable[[], Readiness], *, token: str | None = None
    ) -> None:
        self._registry = registry
        self._readiness = readiness
        self._token = None if token is None else token.encode()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str | None, port: int) -> None:
        logging.getLogger("aiohttp.server").addFilter(_is_ours)
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

    def _is_allowed(self, request: web.Request) -> bool:
        """Whether the request has the token, or none is wanted. Takes as long for a wrong one as for the right one."""
        if self._token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), self._token)
        return right and scheme.lower() == "bearer"

    async def _metrics(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(
                text="this needs the token that is configured as metrics.token, as: Authorization: Bearer TOKEN\n",
                status=401,
                headers={"WWW-Authenticate": 'Bearer realm="cdc-hooks"'},
            )
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # In a thread: with many webhooks it takes long enough to be seen in the latency of deliveries.
        body = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        state = self._readiness()
        text = f"{state.why}\n" if self._is_allowed(request) else ""
        return web.Response(text=text, status=200 if state.ready else 503)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whoever sends to this port what is no HTTP gets 400. He shall not fill the log with it."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
