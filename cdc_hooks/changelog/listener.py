"""The ear at the door: LISTEN on a connection of its own, never in a transaction."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg import AsyncConnection

from cdc_hooks.changelog.connection import ConnectionLost, translated

_PROBE_S = 2.0


class Listener:
    """Sets ``bell`` whenever a writer rings, and ``told`` when an operator has said something."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self.bell = asyncio.Event()
        self.told = asyncio.Event()

    async def begin(self) -> None:
        with translated():
            await self._connection.execute("LISTEN cdc_hooks")

    async def works(self, other: AsyncConnection[Any]) -> bool:
        """Whether a NOTIFY on another connection arrives here. Behind a transaction pooler it does not."""
        with translated():
            await other.execute("NOTIFY cdc_hooks")
            async for _ in self._connection.notifies(timeout=_PROBE_S, stop_after=1):
                return True
        return False

    async def run(self) -> None:
        """Listen until the connection is lost."""
        with translated():
            async for notify in self._connection.notifies():
                (self.told if notify.payload == "control" else self.bell).set()
        raise ConnectionLost("the listening connection was closed")
