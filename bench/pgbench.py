"""pgbench: single-row updates, and how many a second."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bench.database import execute
from bench.processes import BenchError
from cdc_hooks.demo.postgres import PostgresServer

SCALE = 10
TABLE = "public.pgbench_accounts"
_SCRIPT = Path(__file__).parent / "sql" / "update.pgbench"
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_TRANSACTIONS = re.compile(r"^number of transactions actually processed: ([0-9]+)", re.MULTILINE)


def initialise(server: PostgresServer, database: str) -> None:
    """A database with pgbench's tables."""
    execute(server.dsn(), f"CREATE DATABASE {database}")
    _run(server, "-i", "-q", "-s", str(SCALE), database)


def updates_per_second(server: PostgresServer, database: str, *, clients: int, seconds: int) -> tuple[float, int]:
    """Transactions a second, and how many in all, each updating one random account; from a tidy state."""
    execute(server.dsn(database), "VACUUM public.pgbench_accounts")
    execute(server.dsn(database), "CHECKPOINT")
    options = ["-n", "-M", "prepared", "-c", str(clients), "-j", "2", "-T", str(seconds), "-D", f"scale={SCALE}"]
    said = _run(server, *options, "-f", str(_SCRIPT), database)
    tps, count = _TPS.search(said), _TRANSACTIONS.search(said)
    if tps is None or count is None:
        raise BenchError(f"pgbench said no rate:\n{said}")
    return float(tps[1]), int(count[1])


def _run(server: PostgresServer, *arguments: str) -> str:
    command = [server.tool("pgbench"), "-h", str(server.base), "-p", str(server.port), "-U", "postgres", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode:
        raise BenchError(f"pgbench failed with status {done.returncode}:\n{done.stderr}")
    return done.stdout
