"""A database with its configuration directory, and both event loops."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from tests.acceptance.harness import Site


@pytest.fixture
def site(database: str, tmp_path: Path) -> Site:
    """On the server that the session shares."""
    return Site(database, tmp_path)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for temporary files; started by root a server runs as nobody, and must get into it."""
    directory = Path(tempfile.mkdtemp(prefix="cdc-hooks-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of our own."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """Its certificate, as a file in PEM form."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def _run_on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    # Not uvloop.run, which from Python 3.12 on calls the very asyncio.run that is replaced below.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


@pytest.fixture(params=[asyncio.run, _run_on_uvloop], ids=["asyncio", "uvloop"])
def both_loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test on both event loops: the daemon's is uvloop, whose errors are worded and raised differently."""
    monkeypatch.setattr(asyncio, "run", request.param)
