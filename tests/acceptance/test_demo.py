"""``cdc-hooks demo`` as a newcomer runs it: it ends by itself with a verdict, and leaves nothing, however it ends."""

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

LONGEST_S = 100
INTERRUPTED = 130


@contextmanager
def demo(place, seconds):
    with subprocess.Popen(
        [sys.executable, "-m", "cdc_hooks", "demo", "--seconds", str(seconds)],
        env=os.environ | {"TMPDIR": str(place)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process, pattern):
    """Its output up to the line that matches; the match."""
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found
    pytest.fail(f"ended without {pattern!r}: {process.stderr.read()}")


def left_behind(place):
    """Files in ``place``, and processes that were told of it (the server by -D, the daemon by -c)."""
    processes = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(place) in command:
            processes.append(command)
    return [*map(str, place.iterdir()), *processes]


def test_ends_by_itself_with_a_verdict(place):
    with demo(place, 3) as process:
        output, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, f"{output}\n{errors}"
    (verdict,) = (line for line in output.splitlines() if line.startswith("Verdict: "))
    assert re.fullmatch(
        r"Verdict: right: all [\d,]+ changes of [\d,]+ committed transactions arrived, each once and in order per row, "
        r"and nothing of what was rolled back \([\d,]+ changes\); [\d,]+ requests, all signatures valid; "
        r"4 tables rebuilt from the deliveries alone equal the originals; "
        r"commit to receipt p50 [\d.]+ ms, p99 [\d.]+ ms\.",
        verdict,
    )
    assert errors == ""
    assert left_behind(place) == []


@pytest.mark.parametrize(
    ("number", "status", "moment"),
    [
        pytest.param(signal.SIGINT, INTERRUPTED, r"committed +\d", id="Ctrl-C-while-the-shop-writes"),
        pytest.param(signal.SIGTERM, 128 + signal.SIGTERM, r"cdc-hooks demo:", id="SIGTERM-while-the-server-is-made"),
        pytest.param(signal.SIGHUP, 128 + signal.SIGHUP, r"\$ cdc-hooks apply", id="SIGHUP-while-a-command-runs"),
    ],
)
def test_a_signal_ends_it_and_nothing_is_left(place, number, status, moment):
    with demo(place, 60) as process:
        read_until(process, moment)
        process.send_signal(number)
        output, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == status, f"{output}\n{errors}"
    assert f"Interrupted by {number.name}" in output
    assert errors == ""
    assert left_behind(place) == []


def test_a_daemon_that_is_killed_is_told_of(place):
    with demo(place, 60) as process:
        daemon = int(read_until(process, r"ready: process (\d+)")[1])
        read_until(process, r"arrived +[1-9]")
        os.kill(daemon, signal.SIGKILL)
        output, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 1, f"{output}\n{errors}"
    assert errors.startswith("the daemon was killed by SIGKILL; the end of its log:\n  {")
    assert "Verdict" not in output
    assert left_behind(place) == []


def test_a_server_that_crashes_is_told_of(place):
    with demo(place, 60) as process:
        read_until(process, r"arrived +[1-9]")
        (pid_file,) = place.glob("*/*/data/postmaster.pid")
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
        output, errors = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 1, f"{output}\n{errors}"
    assert errors.startswith("the shop cannot write: ")
    assert "the end of the server's log:\n  20" in errors
    assert left_behind(place) == []
