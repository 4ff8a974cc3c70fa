"""Who leads: one daemon at a time acts on a database.

The leader renews a lease by the server's clock. It sends nothing once its own clock says that the lease has run out,
and it can write nothing once another has raised the generation (``hold_lead`` in SQL). So a daemon that was stopped for
a while and wakes up can neither send on nor acknowledge.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import translated
from cdc_hooks.errors import Superseded
from cdc_hooks.sql import queries

LEASE_S = 6.0
BEAT_S = 2.0

_SQL = queries("changelog")


class Lease:
    """The lead as this process knows it: its generation, and until when it may act without asking again."""

    def __init__(self, generation: int, valid_until: float) -> None:
        self.generation = generation
        self._valid_until = valid_until

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Around a heartbeat. The lease counts from before the request, so that we stop before anyone else begins."""
        asked = _clock()
        yield
        self._valid_until = asked + LEASE_S

    @property
    def held(self) -> bool:
        """Whether this process surely leads."""
        return _clock() < self._valid_until

    def check(self) -> None:
        """Raise Superseded unless this process surely leads."""
        if not self.held:
            raise Superseded("the lead was not renewed in time")


async def take_lead(connection: AsyncConnection[Any], holder: str) -> Lease | None:
    """The lease, or None while another holder has it."""
    asked = _clock()
    with translated():
        cursor = await connection.execute(_SQL["take_lead"], {"holder": holder, "lease_ms": int(LEASE_S * 1000)})
        row = await cursor.fetchone()
    generation = row[0] if row else None
    return None if generation is None else Lease(generation, asked + LEASE_S)


async def release_lead(connection: AsyncConnection[Any], lease: Lease) -> None:
    """Let a standby take over at once. Does nothing if another leads already."""
    with translated():
        await connection.execute(_SQL["release_lead"], {"generation": lease.generation})


def new_holder() -> str:
    """A name for this process, for people to read, that no other process has (pids repeat among containers)."""
    return f"{socket.gethostname()} pid {os.getpid()} ({secrets.token_hex(3)})"


def _clock() -> float:
    # Unlike time.monotonic, it also runs while the machine is suspended.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
