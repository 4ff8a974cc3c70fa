"""cdc-hooks as it is installed and run: a configuration file, ``apply``, ``run``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import yaml

from bench.database import TABLE, sql
from bench.processes import BenchError, running, wait_for
from cdc_hooks.demo.postgres import PostgresServer, free_port

_SECRET = "whsec_Y2RjLWhvb2tzIGJlbmNobWFyaywgbm90IGEgc2VjcmV0"  # bodies that never leave this machine
_ROLE = "cdc_hooks"


@dataclass(frozen=True)
class Setup:
    """One webhook on one table of one database, or several that are the same but for their URLs."""

    server: PostgresServer
    directory: Path
    """Where its configuration and its log are written."""
    url: str
    database: str = "postgres"
    more_urls: tuple[str, ...] = ()
    webhook: str = "bench"
    table: str = TABLE
    options: dict[str, Any] = field(default_factory=dict)
    """Of the webhook, beside URL, secret and table."""

    @property
    def admin_dsn(self) -> str:
        return self.server.dsn(self.database)

    @property
    def config(self) -> Path:
        return self.directory / f"{self.webhook}.yaml"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.webhook}.log"


@dataclass(frozen=True)
class Daemon:
    """A running daemon that leads. Times are in seconds since 1970."""

    setup: Setup
    process: subprocess.Popen[bytes]
    started_at: float
    leading_at: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_drained(self, timeout_s: float) -> float:
        """Wait until all of the log is acknowledged. Returns when that was."""
        with psycopg.connect(self.setup.admin_dsn, autocommit=True) as connection:
            return wait_for(
                lambda: _drained_at(connection, self.setup.webhook),
                f"{self.setup.webhook}: to deliver the backlog",
                timeout_s=timeout_s,
                process=self.process,
            )


def apply(setup: Setup) -> None:
    """Install the schema and the triggers."""
    _write_config(setup)
    command = [sys.executable, "-m", "cdc_hooks", "apply", "-c", str(setup.config), "--dsn", setup.admin_dsn]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"cdc-hooks apply failed with status {done.returncode}:\n{done.stderr}")


@contextmanager
def daemon(setup: Setup) -> Iterator[Daemon]:
    """A daemon, from its start until it has ended."""
    _write_config(setup)
    setup.log.unlink(missing_ok=True)
    started_at = time.time()
    command = [sys.executable, "-m", "cdc_hooks", "run", "-c", str(setup.config)]
    with running(command, log=setup.log) as process:
        try:
            leading_at = wait_for(lambda: _leading_at(setup.log), "cdc-hooks run", timeout_s=30, process=process)
            yield Daemon(setup, process, started_at, leading_at)
        except BenchError as error:
            raise BenchError(f"{error}; its log ends with\n{setup.log.read_text()[-2000:]}") from error


def _write_config(setup: Setup) -> None:
    same = {"secret": _SECRET, "tables": {setup.table: {}}, **setup.options}
    others = {f"{setup.webhook}-{n}": {"url": url, **same} for n, url in enumerate(setup.more_urls, 2)}
    config = {
        "database": {"dsn": setup.server.dsn(setup.database, user=_ROLE)},
        "network": {"allow_http": True, "allow": ["127.0.0.0/8"]},
        "webhooks": {setup.webhook: {"url": setup.url, **same}, **others},
        "metrics": {"listen": f"127.0.0.1:{free_port()}"},
        "log": {"format": "json"},
    }
    setup.config.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _leading_at(log: Path) -> float | None:
    """When the daemon says that it began to lead."""
    for line in log.read_text(encoding="utf-8").splitlines():
        if '"leading"' in line:
            return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
    return None


def _drained_at(connection: psycopg.Connection[Any], webhook: str) -> float | None:
    row = connection.execute(sql("place.sql").encode(), {"webhook": webhook}).fetchone()
    if row is None:
        return None
    place, at, last_id = row
    return float(at) if place >= last_id else None
