"""How fast a backlog is delivered: in batches of 100, and one by one."""

from __future__ import annotations

from statistics import median

from bench.context import Context
from bench.figures import short
from bench.report import Row


def drain(context: Context) -> list[Row]:
    rows = context.size(1_000_000, 200_000)
    # The first one reads a log that nobody has read before.
    done = [context.stock.drain(rows) for _ in range(context.size(3, 1))]
    rates = [one.rate for one in done]
    with_startup = [one.rate_with_startup for one in done]
    return [
        Row(
            "drain",
            f"backlog of {rows:,} changes, batches of 100, to nginx",
            median(rates),
            ">=",
            150_000,
            unit="changes/s",
            digits=0,
            detail=f"rounds: {short(rates)}; with the daemon's start: {median(with_startup):,.0f}",
            numbers={
                "rates": rates,
                "rates_with_startup": with_startup,
                "requests": [one.requests for one in done],
                "daemon_cpu_s": [one.cpu_s for one in done],
            },
        )
    ]


def drain_single(context: Context) -> list[Row]:
    rows = context.size(60_000, 10_000)
    done = [context.stock.drain(rows, batch={"max_events": 1}) for _ in range(context.size(3, 1))]
    rates = [one.request_rate for one in done]
    return [
        Row(
            "drain-single",
            "the same in batches of 1",
            median(rates),
            ">=",
            3_000,
            unit="requests/s",
            digits=0,
            detail=f"rounds: {short(rates)}",
            numbers={"rates": rates, "daemon_cpu_s": [one.cpu_s for one in done]},
        )
    ]
