"""What the application's writers notice: throughput of single-row updates with capture, without, and with NOTIFY."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median

from bench import pgbench
from bench.context import Context
from bench.daemon import apply, daemon
from bench.database import execute, postgres, sql
from bench.figures import short
from bench.processes import running, wait_for
from bench.progress import say
from bench.report import Row
from cdc_hooks.demo.postgres import PostgresServer

_CLIENTS = (16, 64)

Round = Callable[[int], tuple[float, str]]
"""Takes a number of clients; gives transactions a second, and what else there is to tell."""


def writers(context: Context) -> list[Row]:
    with _accounts(context) as server:
        pgbench.initialise(server, "plain")
        rounds = {"plain": _plain(context, server), "captured": _captured(context, server)}
        rates = _interleaved(context, rounds)
    return [
        _row("writers", f"updates with triggers and a daemon, against none, {clients} clients", 0.6, one)
        for clients, one in rates.items()
    ]


def naive(context: Context) -> list[Row]:
    with _accounts(context) as server:
        rounds = {"naive": _naive(context, server), "captured": _captured(context, server)}
        rates = _interleaved(context, rounds)
    return [
        _row("naive", f"the same, against NOTIFY in each commit, {clients} clients", required, rates[clients])
        for clients, required in zip(_CLIENTS, (1.8, 2.5), strict=True)
    ]


def _row(scenario: str, what: str, required: float, rates: dict[str, list[float]]) -> Row:
    base, captured = rates.values()
    return Row(
        scenario,
        what,
        median(captured) / median(base),
        ">=",
        required,
        detail=f"transactions/s: {short(captured)} against {short(base)}",
        numbers=rates,
    )


def _interleaved(context: Context, rounds: dict[str, Round]) -> dict[int, dict[str, list[float]]]:
    """Rates by number of clients and variant; these take turns, so that what changes on the machine hits both."""
    rates: dict[int, dict[str, list[float]]] = {}
    for clients in _CLIENTS:
        rates[clients] = {name: [] for name in rounds}
        for _ in range(context.size(5, 1)):
            for name, measure in rounds.items():
                rate, more = measure(clients)
                rates[clients][name].append(rate)
                say(f"{clients} clients, {name}: {rate:,.0f} transactions/s{more}")
    return rates


@contextmanager
def _accounts(context: Context) -> Iterator[PostgresServer]:
    say(f"creating pgbench's tables, scale {pgbench.SCALE}")
    with postgres(context.directory) as server:
        yield server


def _plain(context: Context, server: PostgresServer) -> Round:
    seconds = context.size(10, 3)

    def measure(clients: int) -> tuple[float, str]:
        return pgbench.updates_per_second(server, "plain", clients=clients, seconds=seconds)[0], ""

    return measure


def _captured(context: Context, server: PostgresServer) -> Round:
    seconds = context.size(10, 3)
    pgbench.initialise(server, "captured")
    setup = replace(context.stock.setup(server), database="captured", table=pgbench.TABLE)
    apply(setup)

    def measure(clients: int) -> tuple[float, str]:
        with daemon(setup) as delivering:
            rate, count = pgbench.updates_per_second(server, "captured", clients=clients, seconds=seconds)
            ended_at = time.time()
            behind_s = max(0.0, delivering.wait_until_drained(timeout_s=120) - ended_at)
        return rate, f"; {count:,} changes, the last delivered {behind_s:.1f} s after the end"

    return measure


def _naive(context: Context, server: PostgresServer) -> Round:
    seconds = context.size(10, 3)
    pgbench.initialise(server, "naive")
    execute(server.dsn("naive"), sql("naive.sql"))
    receiver = context.stock.nginx
    log = context.directory / "naive.log"
    listen = [sys.executable, "-m", "bench.naive", server.dsn("naive"), receiver.url]

    def measure(clients: int) -> tuple[float, str]:
        log.unlink(missing_ok=True)
        before = receiver.requests()
        with running(listen, log=log) as process:
            wait_for(lambda: log.read_text() or None, "the naive listener", timeout_s=10, process=process)
            rate, count = pgbench.updates_per_second(server, "naive", clients=clients, seconds=seconds)
            posted = receiver.requests() - before - 1
        return rate, f"; {posted:,} of {count:,} changes were posted by the end"

    return measure
