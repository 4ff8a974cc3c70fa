"""One of fifty endpoints hangs: what the other forty-nine notice of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from bench.context import Context
from bench.daemon import Setup, apply, daemon
from bench.database import create_orders, postgres
from bench.figures import percentile
from bench.processes import BenchError
from bench.progress import say
from bench.report import Row
from bench.scenarios.latency import WARM_UP_S, stamping

_ENDPOINTS = 50
_RATE = 10  # transactions a second, each for all of them


def hanging(context: Context) -> list[Row]:
    """The 99th percentiles of the others, from commit to arrival: with one that hangs against all well, in turn."""
    seconds = context.size(20.0, 5.0)
    well, sick = [], []
    for turn in range(context.size(5, 2)):
        for hangs in (False, True) if turn % 2 else (True, False):
            (sick if hangs else well).append(_p99(context, seconds, hangs=hangs))
    ratios = [with_one / without for with_one, without in zip(sick, well, strict=True)]
    detail = f"{median(sick):.1f} against {median(well):.1f} ms; pairs {', '.join(f'{one:.2f}' for one in ratios)}"
    numbers = {"well_ms": well, "one_hangs_ms": sick}
    what = f"one of {_ENDPOINTS} endpoints hangs: p99 of the others, ratio"
    return [Row("hanging", what, median(ratios), "<=", 1.2, detail=detail, numbers=numbers)]


def _p99(context: Context, seconds: float, *, hangs: bool) -> float:
    """Milliseconds, over all arrivals at all endpoints but the last."""
    directory = context.directory
    arrived, committed, other = (directory / f"{name}.json" for name in ("arrived", "committed", "other"))
    with (
        postgres(directory) as server,
        stamping(arrived) as url,
        _silence() if hangs else stamping(other) as last,
    ):
        create_orders(server.dsn())
        setup = Setup(server, directory, url, webhook="hanging", more_urls=(*[url] * (_ENDPOINTS - 2), last))
        apply(setup)
        with daemon(setup) as sending:
            say(
                f"{_ENDPOINTS} endpoints, {'one hangs' if hangs else 'all well'}: {_RATE} transactions/s, {seconds:g} s"
            )
            asked = [server.dsn(), "random", str(_RATE), str(seconds + WARM_UP_S), str(committed)]
            subprocess.run([sys.executable, "-m", "bench.pace", *asked], check=True, start_new_session=True)
            sending.wait_until_drained(timeout_s=30)
    at: dict[int, int] = dict(json.loads(committed.read_text()))
    begun = min(at.values()) + WARM_UP_S * 1e9
    arrivals = [(row, when) for row, when in json.loads(arrived.read_text()) if at[row] >= begun]
    wanted = sum(when >= begun for when in at.values()) * (_ENDPOINTS - 1)
    if len(arrivals) < wanted:
        raise BenchError(f"{wanted - len(arrivals)} of {wanted} rows did not arrive")
    return percentile([(when - at[row]) / 1e6 for row, when in arrivals], 99)


@contextmanager
def _silence() -> Iterator[str]:
    """The URL of an endpoint that takes connections, as the system does it, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
