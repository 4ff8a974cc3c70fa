"""The demo's receiver: an HTTP server that verifies each request with the stock ``standardwebhooks`` package."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from cdc_hooks.demo.verdict import Delivery, RowChange, exact, key_in

_LARGEST_BODY = 64 * 1024 * 1024


class Receiver:
    """``on_delivery`` hears of each request whose signature is right; the others are counted in ``rejected``."""

    def __init__(self, secret: str, on_delivery: Callable[[Delivery], None]) -> None:
        # Only here: a plain installation has no need of the package.
        from standardwebhooks.webhooks import Webhook, WebhookVerificationError  # noqa: PLC0415

        self._verify = Webhook(secret).verify
        self._refusal = WebhookVerificationError
        self._on_delivery = on_delivery
        self._runner: web.AppRunner | None = None
        self.rejected = 0

    async def start(self) -> str:
        """Listen on a free loopback port; the URL to post to."""
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/hook", self._receive)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/hook"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        received_at = time.perf_counter()
        try:
            self._verify(body, dict(request.headers), json_parse=False)
        except self._refusal as error:
            self.rejected += 1
            return web.Response(status=401, text=f"{error}\n")
        self._on_delivery(_delivery(exact(body), received_at))
        return web.Response()


def _delivery(message: dict[str, Any], received_at: float) -> Delivery:
    table, action = message["table"], message["action"]
    return Delivery(
        message_id=message["id"],
        received_at=received_at,
        table=table,
        action=action,
        items=tuple(
            (item["eventId"], RowChange(table, action, key_in(item["rowId"]), item["data"]["version"], item["data"]))
            for item in message["items"]
        ),
    )
