"""Databases with a backlog, made once in a run and drained as often as needed.

The change log keeps its history, so every new webhook that begins at the earliest change has the whole backlog again.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.daemon import Setup, apply, daemon
from bench.database import create_orders, fill, held_transaction, postgres
from bench.nginx import Nginx, nginx
from bench.processes import BenchError, MemorySampler, cpu_seconds
from bench.progress import say
from cdc_hooks.demo.postgres import PostgresServer

_SLOWEST_PER_S = 1_000  # of changes: a drain that is slower than this is given up


@dataclass(frozen=True)
class Drain:
    """One drain of a whole backlog. Times in seconds."""

    rows: int
    requests: int
    took_s: float
    """From the moment when the daemon leads to the last durable acknowledgement."""
    startup_s: float
    """From the start of the process to the moment when it leads."""
    cpu_s: float
    """Of the daemon, without its start."""
    memory_mib: list[float]
    """Resident memory, ten samples a second."""
    peak_mib: float

    @property
    def rate(self) -> float:
        """Changes a second."""
        return self.rows / self.took_s

    @property
    def rate_with_startup(self) -> float:
        return self.rows / (self.took_s + self.startup_s)

    @property
    def request_rate(self) -> float:
        return self.requests / self.took_s


class Stock:
    """Servers, each with a backlog, and nginx to drain them to. Everything ends with the block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._backlogs: dict[tuple[int, bool], PostgresServer] = {}
        self._numbers = itertools.count(1)
        self._nginx: Nginx | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def nginx(self) -> Nginx:
        if self._nginx is None:
            self._nginx = self._stack.enter_context(nginx(self._directory))
        return self._nginx

    def setup(self, server: PostgresServer, **options: Any) -> Setup:
        """A new webhook on a server that posts to nginx, from the earliest change on."""
        name = f"bench-{next(self._numbers)}"
        return Setup(server, self._directory, self.nginx.url, webhook=name, options={"start": "earliest", **options})

    def backlog(self, rows: int, *, held: bool = False) -> PostgresServer:
        """A server with a backlog of so many changes; ``held``: written while an older transaction is still open."""
        if (rows, held) not in self._backlogs:
            server = self._stack.enter_context(postgres(self._directory))
            create_orders(server.dsn())
            apply(self.setup(server))
            if held:
                self._stack.enter_context(held_transaction(server.dsn()))
            say(f"writing a backlog of {rows:,} changes{' while a transaction is held open' if held else ''}")
            fill(server.dsn(), rows)
            self._backlogs[rows, held] = server
        return self._backlogs[rows, held]

    def drain(self, rows: int, *, held: bool = False, **options: Any) -> Drain:
        """Start a daemon on such a backlog and wait until all is delivered."""
        server = self.backlog(rows, held=held)
        setup = self.setup(server, **options)
        asked = self.nginx.requests()
        with daemon(setup) as running, MemorySampler(running.pid) as memory:
            cpu_before_s = cpu_seconds(running.pid)
            ended_at = running.wait_until_drained(timeout_s=30 + rows / _SLOWEST_PER_S)
            cpu_s = cpu_seconds(running.pid) - cpu_before_s
        done = Drain(
            rows=rows,
            requests=self.nginx.requests() - asked - 1,
            took_s=ended_at - running.leading_at,
            startup_s=running.leading_at - running.started_at,
            cpu_s=cpu_s,
            memory_mib=memory.samples,
            peak_mib=memory.peak_mib,
        )
        fewest = -(-rows // options.get("batch", {}).get("max_events", 100))
        if done.requests < fewest:
            raise BenchError(f"{rows} changes need {fewest} requests at least, nginx has had {done.requests}")
        say(f"drained {rows:,}: {done.rate:,.0f}/s, {done.requests:,} requests, {cpu_s:.1f} s of CPU")
        return done
