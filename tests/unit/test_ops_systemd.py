"""The notify protocol, by a socket of our own."""

import asyncio
import os
import socket

import pytest

from cdc_hooks.ops import systemd


@pytest.fixture
def manager(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def test_lines_travel_in_one_message(manager):
    assert systemd.notify("READY=1", "STATUS=waiting\nfor two hosts")
    assert manager.recv(100) == b"READY=1\nSTATUS=waiting for two hosts"


def test_a_name_without_a_file_is_understood(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0cdc-hooks-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@cdc-hooks-test-{os.getpid()}")
        assert systemd.notify("READY=1")
        assert listening.recv(100) == b"READY=1"


def test_without_a_manager_nothing_happens(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not systemd.notify("READY=1")


def test_a_manager_that_does_not_listen_holds_up_nobody(manager):
    while systemd.notify("WATCHDOG=1", patience_s=0):  # until its queue is full
        pass
    assert manager.recv(100) == b"WATCHDOG=1"
    assert systemd.notify("WATCHDOG=1", patience_s=0)


def test_a_reload_says_when(manager):
    assert systemd.notify_reloading()
    first, second = manager.recv(100).decode().split("\n")
    assert (first, second.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")


@pytest.mark.parametrize(
    ("usec", "pid", "interval_s"),
    [
        ("30000000", None, 10.0),
        pytest.param("30000000", str(os.getpid()), 10.0, id="this process"),
        ("30000000", "1", None),  # it is another process that is watched
        (None, None, None),
        ("", None, None),
        ("soon", None, None),
    ],
)
def test_how_often_to_beat(monkeypatch, usec, pid, interval_s):
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert systemd.watchdog_interval_s() == interval_s


def test_the_watchdog_is_fed_only_while_the_daemon_gets_on(manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "3000")
    manager.setblocking(False)
    looks = iter([True, True, False, False, True])

    def alive():
        try:
            return next(looks)
        except StopIteration:
            raise asyncio.CancelledError from None

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(systemd.feed_watchdog(alive))
    assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_where_nobody_watches_nobody_is_asked(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    asyncio.run(systemd.feed_watchdog(lambda: pytest.fail("asked")))
