"""What the writer committed and what the receiver got, side by side, while it goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from cdc_hooks.demo.verdict import Delivery, RowChange, Transaction


@dataclass
class _Pending:
    """A committed transaction of which some changes are on their way."""

    committed_at: float
    left: int


class Books:
    """The evidence for the verdict, and counts that the screen shows."""

    def __init__(self) -> None:
        self.committed: list[Transaction] = []
        self.undone: list[RowChange] = []
        self.deliveries: list[Delivery] = []
        self.written: Counter[tuple[str, str]] = Counter()
        """Committed changes by table and action."""
        self.arrived: Counter[tuple[str, str]] = Counter()
        """Received changes by table and action."""
        self.latencies: list[float] = []
        """Seconds from commit to the receipt of a transaction's last change, as they were measured."""
        self._arrived_at: dict[RowChange, float] = {}
        self._pending: dict[RowChange, _Pending] = {}
        self._news = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Committed changes that have not arrived."""
        return len(self._pending)

    def commit(self, transaction: Transaction) -> None:
        if not transaction.changes:
            return
        self.committed.append(transaction)
        self.written.update((change.table, change.action) for change in transaction.changes)
        # The receiver may hear of a commit before the writer does.
        waiting = [change for change in transaction.changes if change not in self._arrived_at]
        pending = _Pending(transaction.committed_at, len(waiting))
        self._pending.update(dict.fromkeys(waiting, pending))
        if not waiting:
            last = max(self._arrived_at[change] for change in transaction.changes)
            self.latencies.append(last - transaction.committed_at)

    def undo(self, changes: list[RowChange]) -> None:
        self.undone += changes

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.arrived[delivery.table, delivery.action] += len(delivery.items)
        for _, change in delivery.items:
            self._arrived_at.setdefault(change, delivery.received_at)
            pending = self._pending.pop(change, None)
            if pending is not None:
                pending.left -= 1
                if not pending.left:
                    self.latencies.append(delivery.received_at - pending.committed_at)
        self._news.set()

    async def settled(self, patience_s: float) -> None:
        """Return when all that was committed has arrived, or when nothing more arrives for so long."""
        while self._pending:
            self._news.clear()
            try:
                async with asyncio.timeout(patience_s):
                    await self._news.wait()
            except TimeoutError:
                return
