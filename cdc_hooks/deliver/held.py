"""``on_poison: hold_row``: later changes of a row wait for one that was set aside, until it is resent or deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc_hooks.deliver.parcel import rows_of

if TYPE_CHECKING:
    from collections.abc import Container

    from cdc_hooks.deliver.ledger import WebhookLedger
    from cdc_hooks.deliver.parcel import Parcel, Row
    from cdc_hooks.deliver.telling import Telling


class HeldRows:
    """The rows of a webhook that have a dead letter."""

    def __init__(self, ledger: WebhookLedger, telling: Telling) -> None:
        self._ledger = ledger
        self._telling = telling
        self._rows: frozenset[Row] | None = None

    def forget(self) -> None:
        """There may be another one now: read them anew."""
        self._rows = None

    async def sift(self, parcel: Parcel, known: Container[str]) -> Parcel | None:
        """What of it may be sent. The rest is set aside, but for messages that are ``known`` already.

        Raises DatabaseError when it cannot be: then it must not be passed over, either.
        """
        if parcel.message.id in known:
            return parcel
        if self._rows is None:
            self._rows = await self._ledger.held_rows()
        elif self._touched_by(parcel):
            self._rows = await self._ledger.held_rows()  # a letter may have been resent, or deleted, meanwhile
        if not self._touched_by(parcel):
            return parcel
        rest, held = parcel.divided(self._rows)
        # Each row by itself: one may be let go while another still waits for its letter.
        for one in held.by_row() if held else []:
            if one.message.id not in known:
                await self._ledger.failed(one.delivery, None, state="held", next_attempt_at=None)
                self.forget()  # a key may have changed with it
                self._telling.held(one)
        return rest

    def _touched_by(self, parcel: Parcel) -> bool:
        if not self._rows or parcel.batch is None:
            return False
        return any(self._rows & rows_of(change) for change in parcel.batch.changes)
