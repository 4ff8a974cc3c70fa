"""How much memory the daemon takes, and whether it grows."""

from __future__ import annotations

from bench.context import Context
from bench.daemon import apply, daemon
from bench.database import create_orders, fill_at_once, postgres
from bench.figures import growth
from bench.processes import MemorySampler
from bench.progress import say
from bench.report import Row

_MOST_MIB = 250.0
_FLAT_MIB = 10.0


def memory(context: Context) -> list[Row]:
    many, at_once = context.size(5_000_000, 400_000), context.size(2_000_000, 200_000)
    drained = context.stock.drain(many)
    arrived = _one_transaction(context, at_once)
    return [
        *_rows(f"draining {many:,} changes", drained.memory_mib, drained.peak_mib),
        *_rows(f"one transaction of {at_once:,} rows", arrived.samples, arrived.peak_mib),
    ]


def _one_transaction(context: Context, rows: int) -> MemorySampler:
    with postgres(context.directory) as server:
        create_orders(server.dsn())
        setup = context.stock.setup(server)
        apply(setup)
        with daemon(setup) as running:
            say(f"writing {rows:,} rows in one transaction")
            fill_at_once(server.dsn(), rows)
            with MemorySampler(running.pid) as memory:
                running.wait_until_drained(timeout_s=30 + rows / 1000)
        return memory


def _rows(what: str, samples: list[float], peak_mib: float) -> list[Row]:
    numbers = {"samples_mib": [round(sample, 1) for sample in samples], "samples_per_s": 10}
    return [
        Row(
            "memory",
            f"memory of the daemon, {what}",
            peak_mib,
            "<=",
            _MOST_MIB,
            unit="MiB",
            digits=0,
            detail="the most that was ever resident",
            numbers=numbers,
        ),
        Row(
            "memory",
            "flat: the last third of that time above the middle one",
            growth(samples),
            "<=",
            _FLAT_MIB,
            unit="MiB",
            digits=1,
            numbers=numbers,
        ),
    ]
