"""What the acceptance tests drive: a database with captures, the real daemon as a process, and the command line."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from psycopg.conninfo import make_conninfo

SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
DAEMON_ROLE = "cdc_hooks_daemon"
WITHIN_S = 60.0
"""What a busy machine may take at most for what is waited for."""

T = TypeVar("T")


def _ports() -> Iterator[int]:
    """Below those that the system gives to who asks for any, and others in each process of a run."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 10_000 + process % 8 * 2_500
    return (first + number % 2_500 for number in itertools.count(os.getpid()))


_OWN = _ports()


def own_port() -> int:
    """A TCP port of the loopback address that nobody else takes before who it is for listens on it."""
    return next(port for port in _OWN if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def eventually(condition: Callable[[], T], within_s: float = WITHIN_S, what: str = "it") -> T:
    """The condition's value as soon as it is true. For what nothing tells us of, such as rows in a table."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s} s"
        pause.wait(0.02)
    return value


def webhook(url: str, tables: Sequence[str] | dict[str, Any], **options: Any) -> dict[str, Any]:
    """A webhook's section of the configuration."""
    return {"url": url, "secret": SECRET, "tables": tables, **options}


@dataclass
class Site:
    """A database, the directory with its configuration files, and the commands to work on both."""

    dsn: str
    """As superuser."""
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    command: Sequence[str] = (sys.executable, "-m", "cdc_hooks")

    @property
    def path(self) -> Path:
        return self.directory / "config.yaml"

    def daemon_dsn(self, **changes: Any) -> str:
        return make_conninfo(self.dsn, **{"user": DAEMON_ROLE, **changes})

    def configure(
        self, webhooks: dict[str, Any], *, dsn: str | None = None, file: str = "config.yaml", **sections: Any
    ) -> Path:
        """Write a configuration file, with a port of its own for metrics."""
        path = self.directory / file
        listen = yaml.safe_load(path.read_text())["metrics"]["listen"] if path.exists() else f"127.0.0.1:{own_port()}"
        document = {
            "database": {"dsn": dsn or self.daemon_dsn()},
            "network": {"allow_http": True, "allow": ["127.0.0.0/8"]},
            "webhooks": webhooks,
            "metrics": {"listen": listen},
            "log": {"format": "json"},
            **sections,
        }
        path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False))
        return path

    def run(self, *args: str, config: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as a user does."""
        return subprocess.run(
            [*self.command, "-c", str(config or self.path), *args],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **self.environment, **environment},
        )

    def apply(self, config: Path | None = None) -> None:
        done = self.run("apply", "--dsn", self.dsn, config=config)
        assert done.returncode == 0, done.stderr + done.stdout

    def status(self, config: Path | None = None) -> dict[str, Any]:
        """What ``status --json`` says."""
        shown = self.run("status", "--json", config=config)
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)

    def webhook_status(self, name: str) -> dict[str, Any]:
        return next(one for one in self.status()["webhooks"] if one["name"] == name)

    def let_the_lease_run_out(self) -> None:
        """After a kill, as if its seconds were over: for tests that are not about the wait."""
        self.execute("SELECT setval('cdc_hooks.lease', 0)")

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection as superuser, in autocommit; close it with ``with``."""
        return psycopg.connect(self.dsn, **{"autocommit": True, **options})

    def execute(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run SQL as superuser; the rows, if there are any."""
        with self.connect() as connection:
            cursor = connection.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *parameters: object) -> Any:
        return self.execute(query, *parameters)[0][0]


class Daemon:
    """``cdc-hooks run`` as a process of its own. Use it in a ``with`` statement: it never outlives that."""

    def __init__(self, site: Site, config: Path | None = None) -> None:
        self._site = site
        self._config = config or site.path
        listen = yaml.safe_load(self._config.read_text())["metrics"]["listen"]
        self._http = f"http://{listen}"
        self._news = threading.Condition()
        self._ended = False
        self.log: list[dict[str, Any]] = []
        self.faults_expected = False

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [*self._site.command, "-c", str(self._config), "run"],
            stderr=subprocess.PIPE,
            env={**os.environ, **self._site.environment},
        )
        self._reading = threading.Thread(target=self._read, name="log", daemon=True)
        self._reading.start()
        return self

    def __exit__(self, kind: object, *exc: object) -> None:
        if self._process.poll() is None:
            self.kill()
        self._reading.join(10)
        assert self._process.stderr is not None
        self._process.stderr.close()
        broken = [line for line in self.log if line.get("event") in {"worker_failed", None}]
        if kind is not None:
            sys.stderr.writelines(f"{json.dumps(line)[:1500]}\n" for line in self.log[-40:])
        elif broken and not self.faults_expected:
            raise AssertionError(f"the daemon had a fault: {broken[0]}")

    @property
    def pid(self) -> int:
        return self._process.pid

    # -- the log --------------------------------------------------------------------------------------------------

    def events(self, event: str, after: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of this event that have these fields."""
        lines = list(self.log)[after:]
        return [one for one in lines if one.get("event") == event and fields.items() <= one.items()]

    def until(self, event: str, within_s: float = WITHIN_S, after: int = 0, **fields: Any) -> dict[str, Any]:
        """Return the first such line, as soon as it is there; ``after``: how many lines of the log not to look at."""
        with self._news:
            self._news.wait_for(lambda: self.events(event, after, **fields) or self._ended, within_s)
            found = self.events(event, after, **fields)
        assert found, f"no {event} {fields or ''} in the log within {within_s} s; ended: {self._ended}"
        return found[0]

    def _read(self) -> None:
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"event": None, "text": raw.decode(errors="replace")}
            with self._news:
                self.log.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    # -- signals --------------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def reload(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self, within_s: float = WITHIN_S) -> int:
        """The exit status."""
        status = self._process.wait(within_s)
        self._reading.join(10)
        return status

    # -- what it tells --------------------------------------------------------------------------------------------

    def metric(self, name: str, **labels: str) -> float:
        """A sample's value now; 0 if there is none."""
        return sum(one.value for one in self.samples(name) if labels.items() <= one.labels.items())

    def samples(self, *names: str) -> list[Sample]:
        """All that have one of these names, as they are at one moment."""
        with urllib.request.urlopen(f"{self._http}/metrics", timeout=10) as response:
            text = response.read().decode()
        return [one for family in text_string_to_metric_families(text) for one in family.samples if one.name in names]

    def ready(self) -> tuple[int, str]:
        """Status and text of /readyz; 0 while nothing listens yet."""
        try:
            with urllib.request.urlopen(f"{self._http}/readyz", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def open_sockets(self, to_ports: Collection[int] | None = None) -> int:
        """How many it has; ``to_ports``: of those only the ones that are, or are to be, connected to these."""
        links = set()
        for number in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                links.add(str(number.readlink()))
        sockets = {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:")}
        if to_ports is None:
            return len(sockets)
        tables = (Path(f"/proc/{self.pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6"))
        rows = [line.split() for table in tables for line in table]
        remote = {row[9]: int(row[2].rpartition(":")[2], 16) for row in rows}  # inode → port
        return sum(remote.get(inode) in to_ports for inode in sockets)

    def peak_memory_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


def get(daemon: Daemon, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of one request to the daemon's port."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(daemon._http).netloc, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return response.status, found, response.read().decode()
    finally:
        connection.close()


@contextmanager
def leading(site: Site, config: Path | None = None) -> Iterator[Daemon]:
    """A daemon that leads already."""
    with Daemon(site, config) as daemon:
        daemon.until("leading")
        yield daemon
