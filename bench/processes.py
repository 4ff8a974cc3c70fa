"""Programs that run beside the benchmark, and what Linux says about them."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

_TERMINATE_S = 20.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MIB = 2**20

Answer = TypeVar("Answer")


class BenchError(Exception):
    """The benchmark could not measure; the message says why."""


@contextmanager
def running(command: Sequence[str], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program, ended with the block. Its output goes to ``log``."""
    # A session of its own: Ctrl-C is for the benchmark, which then ends its programs one after the other.
    with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_TERMINATE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(
    condition: Callable[[], Answer | None], what: str, *, timeout_s: float, process: subprocess.Popen[bytes]
) -> Answer:
    """Ask until there is an answer. Raises BenchError after ``timeout_s``, or when the process has ended."""
    deadline = time.monotonic() + timeout_s
    while (answer := condition()) is None:
        if process.poll() is not None:
            raise BenchError(f"{what}: the process has ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.05)
    return answer


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    # The name, in parentheses, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def resident_bytes(pid: int, kind: str = "VmRSS") -> int:
    """Memory of a process now; with ``VmHWM`` the most that it ever was."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) * 1024
    raise BenchError(f"process {pid} has no {kind}")


class MemorySampler:
    """Samples a process's resident memory while the block runs."""

    def __init__(self, pid: int, every_s: float = 0.1) -> None:
        self._pid = pid
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[float] = []
        self.peak_mib = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._done.wait(self._every_s):
            self._sample()

    def _sample(self) -> None:
        with suppress(OSError, BenchError):  # the process has ended
            self.samples.append(resident_bytes(self._pid) / MIB)
            self.peak_mib = resident_bytes(self._pid, "VmHWM") / MIB
