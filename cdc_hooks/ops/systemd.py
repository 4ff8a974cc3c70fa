"""What systemd's ``Type=notify`` wants to hear: readiness, state in words, and the watchdog's beat.

The protocol is a datagram to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3)); without it nothing happens.
"""

from __future__ import annotations

import os
import socket
import time


def notify(*lines: str) -> bool:
    """Send lines such as ``READY=1`` or ``STATUS=…``. False where there is no service manager to tell."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto("\n".join(lines).encode(), address)
    except OSError:  # the manager is gone; it will notice us by other means
        return False
    return True


def notify_reloading() -> bool:
    """Say that a reload has begun; ``READY=1`` ends it. systemd wants the time of it (``Type=notify-reload``)."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_interval_s() -> float | None:
    """How often to beat: half of what systemd allows, or None where it does not watch."""
    allowed_us = os.environ.get("WATCHDOG_USEC", "")
    if not allowed_us.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(allowed_us) / 2_000_000
