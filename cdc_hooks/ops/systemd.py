"""What systemd's ``Type=notify`` wants to hear: readiness, state in words, and the watchdog's beat.

The protocol is a datagram to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)); without it nothing happens.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import socket
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


def notify(*lines: str, patience_s: float = 1.0) -> bool:
    """Send lines such as ``READY=1`` or ``STATUS=…``. False where there is no service manager that listens.

    ``patience_s``: how long to wait, and hold up the event loop, for a manager that is behind with its messages.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(patience_s)
            channel.sendto("\n".join(line.replace("\n", " ") for line in lines).encode(), address)
    except OSError:  # the manager is gone or very busy; it will notice us by other means
        return False
    return True


def notify_reloading() -> bool:
    """Say that a reload has begun; ``READY=1`` ends it. systemd wants the time of it (``Type=notify-reload``)."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_interval_s() -> float | None:
    """How often to beat: a third of what systemd allows, or None where it does not watch."""
    allowed_us = os.environ.get("WATCHDOG_USEC", "")
    if not allowed_us.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(allowed_us) / 3_000_000


async def feed_watchdog(alive: Callable[[], bool] = lambda: True) -> None:
    """Beat while the event loop runs and ``alive`` says that the daemon gets on with its work; for ever, once watched.

    One that does not is stuck: systemd aborts and restarts it, and its threads' tracebacks go to stderr.
    """
    interval_s = watchdog_interval_s()
    if interval_s is None:
        return
    faulthandler.enable()
    well = True
    while True:
        was_well, well = well, alive()
        if well:
            notify("WATCHDOG=1", patience_s=0)
        elif was_well:
            log.warning("watchdog_not_fed", hint="systemd restarts the service if this lasts; see its WatchdogSec")
        await asyncio.sleep(interval_s)
