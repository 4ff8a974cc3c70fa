"""A writer at a given pace, in a process of its own. ``python -m bench.pace DSN PACE RATE SECONDS FILE``.

Inserts one order a transaction, over four connections, ``even``ly or at ``random`` moments (as independent users do: a
Poisson process), and writes to FILE when each commit had returned, in nanoseconds of the machine's monotonic clock, by
row id.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import uvloop

from bench.database import sql

_CONNECTIONS = 4
_SEED = 20261121


async def write(dsn: str, pace: str, rate: float, seconds: float) -> list[tuple[int, int]]:
    """Row ids, and when their commits had returned. ``rate``: transactions a second."""
    committed: list[tuple[int, int]] = []
    moments = even if pace == "even" else at_random
    await asyncio.gather(*(_write(dsn, n, moments(n, rate), seconds, committed) for n in range(_CONNECTIONS)))
    return committed


def even(number: int, rate: float) -> Iterator[float]:
    """When one of the connections writes, in seconds from the beginning: they take turns."""
    return (turn / rate for turn in itertools.count(number + 1, _CONNECTIONS))


def at_random(number: int, rate: float) -> Iterator[float]:
    """The same, each independent of the others and of when it wrote last."""
    pauses = random.Random(_SEED + number)
    return itertools.accumulate(pauses.expovariate(rate / _CONNECTIONS) for _ in itertools.count())


async def _write(
    dsn: str, number: int, moments: Iterator[float], seconds: float, committed: list[tuple[int, int]]
) -> None:
    insert = sql("fill.sql").encode()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        await connection.execute("SELECT")
        begun = time.monotonic()
        for row, due in zip(itertools.count(number + 1, _CONNECTIONS), moments, strict=False):
            if due > seconds:
                break
            await asyncio.sleep(begun + due - time.monotonic())
            await connection.execute(insert, {"first": row, "last": row})
            committed.append((row, time.monotonic_ns()))


if __name__ == "__main__":
    done = uvloop.run(write(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
    Path(sys.argv[5]).write_text(json.dumps(done), encoding="utf-8")
