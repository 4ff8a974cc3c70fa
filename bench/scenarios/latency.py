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
_WARM_UP_S = 1.0


def latency(context: Context) -> list[Row]:
    seconds = context.size(30.0, 6.0)
    milliseconds = _measure(context.directory, seconds)
    p50, p99 = percentile(milliseconds, 50), percentile(milliseconds, 99)
    about = f"{len(milliseconds):,} transactions in {seconds:g} s"
    numbers = {
        "transactions": len(milliseconds),
        "percentiles_ms": {str(p): percentile(milliseconds, p) for p in (1, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)},
    }
    return [
        Row("latency", f"commit to receiver at {_RATE} transactions/s, p50", p50, "<=", 3.0, "ms", 1, about, numbers),
        Row(
            "latency",
            "the same, p99",
            p99,
            "<=",
            12.0,
            "ms",
            1,
            f"p99.9 {percentile(milliseconds, 99.9):.1f}, worst {max(milliseconds):.1f}",
            numbers,
        ),
    ]


def _measure(directory: Path, seconds: float) -> list[float]:
    """Milliseconds from the return of each commit to the arrival of its row."""
    arrived_file, committed_file = directory / "arrived.json", directory / "committed.json"
    with postgres(directory) as server, _receiver(directory, arrived_file) as url:
        create_orders(server.dsn())
        setup = Setup(server, directory, url, webhook="latency")
        apply(setup)
        with daemon(setup) as sending:
            say(f"{_RATE} transactions/s for {seconds:g} s")
            write = [sys.executable, "-m", "bench.pace", server.dsn(), str(_RATE), str(seconds + _WARM_UP_S)]
            subprocess.run([*write, str(committed_file)], check=True, start_new_session=True)
            sending.wait_until_drained(timeout_s=30)
    committed: dict[int, int] = dict(json.loads(committed_file.read_text()))
    arrived: dict[int, int] = dict(reversed(json.loads(arrived_file.read_text())))  # the first arrival counts
    if lost := committed.keys() - arrived.keys():
        raise BenchError(f"{len(lost)} of {len(committed)} committed rows did not arrive")
    begun = min(committed.values()) + _WARM_UP_S * 1e9
    return [(arrived[row] - at) / 1e6 for row, at in committed.items() if at >= begun]


@contextmanager
def _receiver(directory: Path, arrived: Path) -> Iterator[str]:
    """The URL of a receiver that stamps arrivals, and writes them to the file at its end."""
    log = directory / "arrivals.log"
    log.unlink(missing_ok=True)
    with running([sys.executable, "-m", "bench.arrivals", str(arrived)], log=log) as process:
        port = wait_for(lambda: log.read_text() or None, "the receiver", timeout_s=10, process=process)
        yield f"http://127.0.0.1:{int(port)}/"
