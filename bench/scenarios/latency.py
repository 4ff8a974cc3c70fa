"""From commit to receiver, at a steady pace."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.context import Context
from bench.daemon import Setup, apply, daemon
from bench.database import create_orders, postgres
from bench.figures import percentile
from bench.processes import BenchError, running, wait_for
from bench.progress import say
from bench.report import Row

_RATE = 200
WARM_UP_S = 1.0
_PERCENTILES = (1, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)


def latency(context: Context) -> list[Row]:
    seconds = context.size(30.0, 6.0)
    even = _measure(context.directory, "even", seconds)
    at_random = _measure(context.directory, "random", seconds)
    return [
        *_rows(f"commit to receiver at {_RATE} transactions/s", even),
        *_rows("the same at random moments", at_random),
    ]


def _rows(what: str, milliseconds: list[float]) -> list[Row]:
    at = {percent: percentile(milliseconds, percent) for percent in _PERCENTILES}
    numbers = {"transactions": len(milliseconds), "percentiles_ms": {str(percent): ms for percent, ms in at.items()}}
    detail = f"{len(milliseconds):,} transactions; p90 {at[90]:.1f}, p99.9 {at[99.9]:.1f}, worst {at[100]:.1f}"
    return [
        Row("latency", f"{what}, p50", at[50], "<=", 3.0, unit="ms", digits=1, detail=detail, numbers=numbers),
        Row("latency", f"{what}, p99", at[99], "<=", 12.0, unit="ms", digits=1, detail=detail, numbers=numbers),
    ]


def _measure(directory: Path, pace: str, seconds: float) -> list[float]:
    """Milliseconds from the return of each commit to the arrival of its row."""
    arrived_file, committed_file = directory / "arrived.json", directory / "committed.json"
    with postgres(directory) as server, stamping(arrived_file) as url:
        create_orders(server.dsn())
        setup = Setup(server, directory, url, webhook="latency")
        apply(setup)
        with daemon(setup) as sending:
            say(f"{_RATE} transactions/s for {seconds:g} s, {pace}")
            asked = [server.dsn(), pace, str(_RATE), str(seconds + WARM_UP_S), str(committed_file)]
            subprocess.run([sys.executable, "-m", "bench.pace", *asked], check=True, start_new_session=True)
            sending.wait_until_drained(timeout_s=30)
    committed: dict[int, int] = dict(json.loads(committed_file.read_text()))
    arrived: dict[int, int] = dict(reversed(json.loads(arrived_file.read_text())))  # the first arrival counts
    if lost := committed.keys() - arrived.keys():
        raise BenchError(f"{len(lost)} of {len(committed)} committed rows did not arrive")
    begun = min(committed.values()) + WARM_UP_S * 1e9
    return [(arrived[row] - at) / 1e6 for row, at in committed.items() if at >= begun]


@contextmanager
def stamping(arrived: Path) -> Iterator[str]:
    """The URL of a receiver that stamps arrivals, and writes them to the file at its end."""
    log = arrived.with_suffix(".log")
    log.unlink(missing_ok=True)
    with running([sys.executable, "-m", "bench.arrivals", str(arrived)], log=log) as process:
        port = wait_for(lambda: log.read_text() or None, "the receiver", timeout_s=10, process=process)
        yield f"http://127.0.0.1:{int(port)}/"
