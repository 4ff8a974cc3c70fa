"""The service as systemd sees it: the unit file by systemd's own tools, and the notify protocol by the real daemon."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import yaml

from cdc_hooks.config.ed25519 import SigningKey
from tests.acceptance.harness import SECRET, WITHIN_S, Daemon, Site, eventually, webhook
from tests.acceptance.proxy import proxied
from tests.acceptance.units import service_of
from tests.conftest import need
from tests.receivers import receiver_in_thread

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "cdc-hooks.service"
MOST_EXPOSED = 2.0


@pytest.fixture(scope="module")
def service():
    """The section [Service]: the values of each key."""
    return service_of(UNIT)


@pytest.fixture
def unit_here(tmp_path, service) -> Path:
    """The unit as it is, but for the program's place, which must exist to be verified."""
    program = shlex.split(service["ExecStart"][0])[0]
    here = tmp_path / "program"
    here.write_text("#!/bin/sh\n")
    here.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(program, str(here)))
    return copy


def analyze(*args: str) -> subprocess.CompletedProcess[str]:
    need("systemd-analyze", shutil.which("systemd-analyze"))
    return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True, timeout=60, check=False)


# -- the unit -----------------------------------------------------------------------------------------------------


def test_systemd_finds_nothing_wrong_with_the_unit(unit_here):
    verified = analyze("verify", str(unit_here))
    assert (verified.returncode, verified.stderr.strip()) == (0, "")


def test_the_service_is_hardened(unit_here):
    judged = analyze("security", "--offline=yes", "--no-pager", str(unit_here))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure, judged.stdout + judged.stderr
    assert float(exposure[1]) <= MOST_EXPOSED, judged.stdout


def test_the_unit_brings_no_environment_and_no_secret(service):
    assert not [key for key in service if "Environment" in key]
    assert service["LimitCORE"] == ["0"]  # nor does what is left of it when it breaks
    assert service["LoadCredential"][0].startswith("dsn:/etc/")


def test_the_unit_loads_the_credentials_of_the_example(service):
    """What config.example.yaml takes from the directory of credentials, systemd has put there."""
    wanted = re.findall(r"\$\{CREDENTIALS_DIRECTORY[^}]*\}/([\w.-]+)", (ROOT / "config.example.yaml").read_text())
    assert wanted
    assert set(wanted) <= {loaded.partition(":")[0] for loaded in service["LoadCredential"]}


def test_a_wrong_configuration_is_not_tried_again_and_a_missing_schema_is(service, site):
    command = shlex.split(service["ExecStart"][0])[1:]
    assert command[-2:] == ["--config", "/etc/cdc-hooks/config.yaml"]
    site.execute(f"CREATE TABLE orders (id int PRIMARY KEY); {ROLE}")

    def ended(config: Path) -> str:
        run = [sys.executable, "-m", "cdc_hooks", *command[:-1], str(config)]
        return str(subprocess.run(run, capture_output=True, timeout=60, check=False).returncode)

    final = service["RestartPreventExitStatus"][0].split()
    assert ended(site.directory / "not-there.yaml") in final
    assert ended(site.configure({})) not in final


ROLE = "DO $$ BEGIN CREATE ROLE cdc_hooks_daemon LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$"


# -- the protocol -------------------------------------------------------------------------------------------------


class Manager:
    """The socket of a service manager, and what was said to it."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(WITHIN_S)
        self.path = path
        self.heard: list[list[str]] = []

    def hear(self) -> list[str]:
        """The lines of the next message."""
        self.heard.append(self._socket.recv(4096).decode().split("\n"))
        return self.heard[-1]

    def until(self, line: str) -> list[str]:
        """Listen until a message has a line that begins so."""
        deadline = time.monotonic() + WITHIN_S
        while not any(said.startswith(line) for said in self.hear()):
            assert time.monotonic() < deadline, f"no {line} within {WITHIN_S} s"
        return self.heard[-1]

    def said(self, line: str) -> bool:
        return any(line in message for message in self.heard)

    def catch_up(self) -> list[list[str]]:
        """What was said and not heard yet."""
        before = len(self.heard)
        self._socket.setblocking(False)
        try:
            while True:
                self.hear()
        except BlockingIOError:
            return self.heard[before:]
        finally:
            self._socket.settimeout(WITHIN_S)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path) -> Iterator[Manager]:
    listening = Manager(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.fixture
def managed(site, manager) -> Site:
    """A site whose daemon is started as systemd does, with a watchdog of 0.3 s."""
    site.environment |= {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "300000"}
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    site.configure({"w": webhook("http://127.0.0.1:1/", ["public.orders"])})
    site.apply()
    return site


def test_from_start_to_stop_systemd_knows_how_it_is(managed, manager):
    with Daemon(managed) as daemon:
        assert manager.until("READY=1") == ["READY=1", "STATUS=leading"]
        for _ in range(3):
            manager.until("WATCHDOG=1")

        daemon.reload()
        assert int(manager.until("RELOADING=1")[1].removeprefix("MONOTONIC_USEC=")) > 0
        manager.until("READY=1")

        managed.path.write_text("webhooks: nonsense")
        daemon.reload()
        manager.until("RELOADING=1")
        manager.until("READY=1")  # with the old configuration
        assert daemon.until("reload_refused")["running"] == "the old configuration"

        daemon.terminate()
        manager.until("STOPPING=1")
        assert daemon.wait() == 0


def test_a_standby_is_ready_too(managed, manager):
    with Daemon(managed) as first:
        manager.until("READY=1")
        with Daemon(managed, managed.configure({}, file="second.yaml")):
            assert manager.until("STATUS=standing by")[0] == "READY=1"
            first.terminate()
            manager.until("STATUS=leading")


def test_it_is_not_ready_before_it_has_a_database(own_server, manager, tmp_path):
    site = Site(own_server.dsn(), tmp_path, {"NOTIFY_SOCKET": str(manager.path)})
    site.configure({})
    site.apply()
    own_server.stop()
    with Daemon(site) as daemon:
        manager.until("STATUS=waiting for the database: ")
        own_server.start()
        assert not manager.said("READY=1")
        manager.until("READY=1")
        daemon.terminate()
        assert daemon.wait() == 0


def test_it_starts_from_credentials_with_an_empty_environment(site, manager):
    """As in the unit: the file says where its secrets are, the environment holds nothing but systemd's variables."""
    directory = site.directory / "credentials"
    directory.mkdir(mode=0o700)
    (directory / "dsn").write_text(site.daemon_dsn() + "\n")
    (directory / "order-sync").write_text(SECRET + "\n")
    url = "http://127.0.0.1:1/"
    tables = ["public.orders"]
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    site.configure({"order-sync": webhook(url, tables)})
    site.apply()
    site.configure(
        {"order-sync": {"url": url, "tables": tables, "secret_file": "${CREDENTIALS_DIRECTORY}/order-sync"}},
        database={"dsn_file": "${CREDENTIALS_DIRECTORY}/dsn"},
        metrics="off",
    )
    with process(site, env={"CREDENTIALS_DIRECTORY": str(directory), "NOTIFY_SOCKET": str(manager.path)}) as daemon:
        manager.until("READY=1")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(WITHIN_S) == 0


@contextmanager
def process(site: Site, *inside: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon with this environment alone, started by the program ``inside``."""
    run = [sys.executable, "-m", "cdc_hooks", "run", "--config", str(site.path)]
    daemon = subprocess.Popen([*inside, *run], env=env)
    try:
        yield daemon
    finally:
        daemon.kill()
        daemon.wait()


def test_it_delivers_within_the_units_restrictions(managed, manager):
    """Under the unit's filter of system calls and without capabilities: start, deliver, serve metrics, reload, stop."""
    need("systemd-analyze", shutil.which("systemd-analyze"))
    bare = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    sandbox = [sys.executable, "-m", "tests.acceptance.sandbox", str(UNIT)]
    with receiver_in_thread(secret=SECRET) as receiver:
        # With a private key, too: it brings a library of its own.
        secrets = [SECRET, SigningKey.generate().secret()]
        to = receiver.url.replace("127.0.0.1", "localhost")
        managed.configure({"w": webhook(to, ["public.orders"], secret=secrets)})
        with process(managed, *bare, *sandbox, env={**os.environ, **managed.environment}) as daemon:
            manager.until("STATUS=leading")
            manager.until("WATCHDOG=1")
            assert "\nSeccomp:\t2\n" in Path(f"/proc/{daemon.pid}/status").read_text()
            managed.execute("INSERT INTO orders VALUES (1)")
            receiver.wait(lambda: len(receiver.requests) == 1)
            assert " v1a," in (receiver.requests[0].header("webhook-signature") or "")
            listen = yaml.safe_load(managed.path.read_text())["metrics"]["listen"]
            with urllib.request.urlopen(f"http://{listen}/metrics", timeout=10) as response:
                assert b"\nprocess_open_fds " in response.read()
            daemon.send_signal(signal.SIGHUP)
            manager.until("RELOADING=1")
            daemon.send_signal(signal.SIGTERM)
            manager.until("STOPPING=1")
            assert daemon.wait(WITHIN_S) == 0


def test_a_sighup_does_not_make_a_waiting_daemon_ready(own_server, manager, tmp_path):
    site = Site(own_server.dsn(), tmp_path, {"NOTIFY_SOCKET": str(manager.path)})
    site.configure({})
    site.apply()
    own_server.stop()
    with Daemon(site) as daemon:
        manager.until("STATUS=waiting for the database: ")
        daemon.reload()
        daemon.until("reloading")
        manager.until("STATUS=waiting for the database: ")  # the next attempt
        assert not manager.said("READY=1")


def test_the_watchdog_is_not_fed_while_the_lead_is_not_renewed(managed, manager):
    """Its event loop runs, and so do its connections; but no answer comes, and another daemon may lead by now."""
    port = int(psycopg.conninfo.conninfo_to_dict(managed.dsn)["port"])
    with proxied(port) as proxy:
        managed.configure({}, dsn=managed.daemon_dsn(port=proxy.port))
        with Daemon(managed) as daemon:
            manager.until("STATUS=leading")
            proxy.stall()
            daemon.until("watchdog_not_fed")
            assert daemon.ready()[0] == 503
            proxy.heal()
            eventually(lambda: daemon.ready()[0] == 200)
            manager.catch_up()
            manager.until("WATCHDOG=1")
