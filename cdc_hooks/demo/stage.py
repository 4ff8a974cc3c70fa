"""What the demo starts on this machine: a directory, a PostgreSQL server, the real commands, the real daemon."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import signal
import socket
import sys
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from psycopg.conninfo import make_conninfo

from cdc_hooks.demo.postgres import PostgresServer, free_port, system_bin_dir, wheel_bin_dir
from cdc_hooks.errors import CdcHooksError

_T = TypeVar("_T")
_READY_S = 60.0
_STOP_S = 15.0
_TAIL = 12
# Where a service manager or PostgreSQL's own tools left something in the environment, it is not meant for the demo.
_NOT_OURS = ("PG", "NOTIFY_SOCKET", "WATCHDOG_", "CDC_HOOKS_")

_CONFIG = """\
database:
  dsn: "{daemon_dsn}"
  admin_dsn: "{admin_dsn}"
network: {{allow_http: true, allow: [127.0.0.0/8]}}
webhooks:
  warehouse:
    url: {url}
    secret: {secret}
    start: earliest
    tables:
      public.customers: {{actions: [insert, update, delete]}}
      public.products: {{actions: [insert, update, delete]}}
      public.orders: {{actions: [insert, update, delete]}}
      public.order_lines: {{actions: [insert, update, delete]}}
metrics: {{listen: "127.0.0.1:{port}"}}
log: {{format: json, level: info}}
"""


def check_requirements() -> None:
    """Raise CdcHooksError where the demo's own packages are missing."""
    if importlib.util.find_spec("standardwebhooks") is None or _server_binaries() is None:
        raise CdcHooksError(
            "the demo needs a PostgreSQL server and the package standardwebhooks", hint="pip install 'cdc-hooks[demo]'"
        )


def new_secret() -> str:
    """A signing secret of 32 random bytes."""
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


async def to_the_end(work: Callable[[], _T]) -> _T:
    """Run in a thread. When cancelled meanwhile, wait for its end first: what it makes must be there to be removed."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


class Database:
    """A PostgreSQL server that nobody else knows of."""

    def __init__(self, directory: Path) -> None:
        binaries = _server_binaries()
        assert binaries is not None, "see check_requirements"
        self._server = PostgresServer(binaries, directory=directory)

    def start(self) -> None:
        self._server.start()

    def remove(self) -> None:
        self._server.remove()

    def dsn(self, user: str = "postgres") -> str:
        """The rows' text does not depend on where this machine stands, nor the connection on its environment."""
        return make_conninfo(
            self._server.dsn("postgres", user), sslmode="disable", options="-c TimeZone=UTC -c DateStyle=ISO"
        )

    def log_tail(self) -> str:
        return _tail(self._server.base / "log")


class Program:
    """``cdc-hooks`` as a user runs it: processes with a configuration file."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "config.yaml"
        self._log = directory / "daemon.log"
        self._socket = directory / "notify"
        self._daemon: asyncio.subprocess.Process | None = None
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}

    def configure(self, database: Database, url: str, secret: str) -> None:
        """Write the configuration file, readable for us alone."""
        self.config.touch(mode=0o600)
        self.config.write_text(
            _CONFIG.format(
                daemon_dsn=database.dsn("cdc_hooks"),
                admin_dsn=database.dsn(),
                url=url,
                secret=secret,
                port=free_port(),
            ),
            encoding="utf-8",
        )

    async def command(self, name: str, *, fine: tuple[int, ...] = (0,)) -> list[str]:
        """Run a command to its end; its output in lines. Raises CdcHooksError if it fails."""
        process = await asyncio.create_subprocess_exec(
            *self._argv(name),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        lines = output.decode(errors="replace").splitlines()
        if process.returncode not in fine:
            raise CdcHooksError("\n".join([f"cdc-hooks {name} failed, exit status {process.returncode}:", *lines]))
        return lines

    async def start_daemon(self) -> int:
        """Start ``cdc-hooks run`` and return its process id when it says that it is ready, as it says to systemd."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, self._log.open("w") as log:
            manager.bind(str(self._socket))
            manager.setblocking(False)
            daemon = self._daemon = await asyncio.create_subprocess_exec(
                *self._argv("run"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment | {"NOTIFY_SOCKET": str(self._socket)},
                start_new_session=True,  # Ctrl-C is ours to hear: we end it in order
            )
            ready = asyncio.ensure_future(_readiness(manager))
            ended = asyncio.ensure_future(daemon.wait())
            try:
                await asyncio.wait({ready, ended}, timeout=_READY_S, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    raise CdcHooksError(self.obituary())
                if not ready.done():
                    raise CdcHooksError(f"the daemon was not ready within {_READY_S:g} s:\n{self.log_tail()}")
            finally:
                ready.cancel()
                ended.cancel()
        return daemon.pid

    async def daemon_ends(self) -> None:
        """Return when the daemon has ended, for whatever reason."""
        assert self._daemon is not None
        await self._daemon.wait()

    async def stop_daemon(self) -> int | None:
        """End it in order, by force if it does not obey; its exit status. Fine if it never ran, and twice."""
        if self._daemon is None:
            return None
        if self._daemon.returncode is None:
            with suppress(ProcessLookupError):
                self._daemon.terminate()
            try:
                async with asyncio.timeout(_STOP_S):
                    return await self._daemon.wait()
            except TimeoutError:
                self._daemon.kill()
        return await self._daemon.wait()

    def obituary(self) -> str:
        """How the daemon ended, and its last words."""
        status = self._daemon.returncode if self._daemon else None
        how = (
            f"was killed by {signal.Signals(-status).name}" if status and status < 0 else f"ended, exit status {status}"
        )
        return f"the daemon {how}; the end of its log:\n{self.log_tail()}"

    def log_tail(self) -> str:
        return _tail(self._log)

    def _argv(self, command: str) -> list[str]:
        return [sys.executable, "-m", "cdc_hooks", command, "-c", str(self.config)]


async def _readiness(manager: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while b"READY=1" not in await loop.sock_recv(manager, 4096):
        pass


def _server_binaries() -> Path | None:
    """Of the newest server on this machine."""
    return next((found for v in (18, 17, 16, 15) if (found := wheel_bin_dir(v) or system_bin_dir(v))), None)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-_TAIL:]) or "  (empty)"
