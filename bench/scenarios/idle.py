"""What a daemon costs that has nothing to do."""

from __future__ import annotations

import time

from bench.context import Context
from bench.daemon import apply, daemon
from bench.database import create_orders, fill, postgres
from bench.processes import cpu_seconds
from bench.progress import say
from bench.report import Row
from cdc_hooks.demo.postgres import PostgresServer

_LOGGING = {"log_statement": "all", "log_line_prefix": "%a|"}
_SETTLE_S = 5.0


def idle(context: Context) -> list[Row]:
    seconds = context.size(120.0, 20.0)
    with postgres(context.directory, _LOGGING) as server:
        create_orders(server.dsn())
        setup = context.stock.setup(server)
        apply(setup)
        with daemon(setup) as running:
            fill(server.dsn(), 100)
            running.wait_until_drained(timeout_s=30)
            time.sleep(_SETTLE_S)
            say(f"watching an idle daemon for {seconds:g} s")
            cpu_before, queries_before = cpu_seconds(running.pid), _queries(server)
            time.sleep(seconds)
            cpu_s = cpu_seconds(running.pid) - cpu_before
            queries = _queries(server)[len(queries_before) :]
    return [
        Row(
            "idle",
            "idle daemon: part of a core",
            100 * cpu_s / seconds,
            "<",
            1.0,
            unit="%",
            detail=f"{cpu_s:.2f} s of CPU in {seconds:g} s",
            numbers={"cpu_s": cpu_s, "seconds": seconds},
        ),
        Row(
            "idle",
            "idle daemon: queries",
            len(queries) / seconds,
            "<",
            1.0,
            unit="/s",
            detail=f"{len(queries)} in {seconds:g} s, all connections",
            numbers={"queries": len(queries), "seconds": seconds},
        ),
    ]


def _queries(server: PostgresServer) -> list[str]:
    """The daemon's statements so far, from the server's log."""
    lines = (server.base / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    return [
        line
        for line in lines
        if line.startswith("cdc-hooks") and ("|LOG:  execute" in line or "|LOG:  statement" in line)
    ]
