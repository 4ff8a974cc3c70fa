"""A writer at a given pace, in a process of its own. ``python -m bench.pace DSN RATE SECONDS FILE``.

Inserts one order a transaction, at random moments (as independent users do: a Poisson process), over four connections,
and writes to FILE when each commit had returned, in nanoseconds of the machine's monotonic clock, by row id.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path

import psycopg
import uvloop

from bench.database import sql

_CONNECTIONS = 4
_SEED = 20261121


async def write(dsn: str, rate: float, seconds: float) -> list[tuple[int, int]]:
    """Row ids, and when their commits had returned."""
    committed: list[tuple[int, int]] = []
    await asyncio.gather(*(_write(dsn, n, rate / _CONNECTIONS, seconds, committed) for n in range(_CONNECTIONS)))
    return committed


async def _write(dsn: str, number: int, rate: float, seconds: float, committed: list[tuple[int, int]]) -> None:
    moments = random.Random(_SEED + number)
    insert = sql("fill.sql").encode()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        await connection.execute("SELECT")
        row = number + 1
        now = begun = time.monotonic()
        due = now + moments.expovariate(rate)
        while due < begun + seconds:
            await asyncio.sleep(due - time.monotonic())
            await connection.execute(insert, {"first": row, "last": row})
            committed.append((row, time.monotonic_ns()))
            row += _CONNECTIONS
            due += moments.expovariate(rate)


if __name__ == "__main__":
    done = uvloop.run(write(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
    Path(sys.argv[4]).write_text(json.dumps(done), encoding="utf-8")
