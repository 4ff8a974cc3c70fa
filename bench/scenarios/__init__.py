"""The scenarios: each measures one or more requirements, and can be run alone."""

from __future__ import annotations

from collections.abc import Callable

from bench.context import Context
from bench.report import Row
from bench.scenarios.backlog import backlog
from bench.scenarios.drain import drain, drain_single
from bench.scenarios.hanging import hanging
from bench.scenarios.idle import idle
from bench.scenarios.latency import latency
from bench.scenarios.memory import memory
from bench.scenarios.writers import naive, writers

SCENARIOS: dict[str, Callable[[Context], list[Row]]] = {
    "writers": writers,
    "naive": naive,
    "latency": latency,
    "hanging": hanging,
    "drain": drain,
    "drain-single": drain_single,
    "backlog": backlog,
    "memory": memory,
    "idle": idle,
}
