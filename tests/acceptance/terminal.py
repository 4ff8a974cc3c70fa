"""Commands on a terminal, as a person sees them."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.acceptance.harness import WITHIN_S, Site

Screen = Callable[[str], str]


@contextmanager
def terminal(site: Site, *args: str, **changes: str) -> Iterator[tuple[subprocess.Popen[bytes], Screen]]:
    """A command on a terminal of its own, and what waits until it has shown a text."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cdc_hooks", "-c", str(site.path), *args]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40", **changes}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = ""

    def until(text: str) -> str:
        nonlocal shown
        deadline = time.monotonic() + WITHIN_S
        while text not in shown:
            assert time.monotonic() < deadline, f"{text!r} was not shown: {shown[-2000:]}"
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65536).decode(errors="replace")
        return shown

    try:
        yield process, until
    finally:
        process.kill()
        process.wait()
        os.close(ours)
