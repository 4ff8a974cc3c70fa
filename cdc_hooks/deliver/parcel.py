"""A message on its way, with what it is made of: it can be halved, or reduced to some of its events."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, Self

from cdc_hooks.deliver.ledger import Delivery
from cdc_hooks.model import Action, Batch, Change, Message

Render = Callable[[Batch], Message]
Row = tuple[str, bytes]
"""A table, and the key of one of its rows."""
NO_KEY = b"0"
"""Stands for the key where there is none: all of such a table counts as one row."""
_OLD_KEY = itemgetter(Change._fields.index("old_key"))


def rows_of(change: Change) -> set[Row]:
    """The row that it is of, and the one that it was before, if its key has changed."""
    key = change.key or NO_KEY
    return {(change.table, key), (change.table, change.old_key or key)}


class Standing(NamedTuple):
    """How many requests of a webhook got through, and how many failed, up to some moment."""

    good: int = 0
    bad: int = 0


@dataclass(slots=True)
class Parcel:
    """A message and what it has been through. ``batch`` is None where there is none: news of a gap is never split."""

    message: Message
    batch: Batch | None
    render: Render
    part_of: str | None = None
    root: str = ""
    """Id of the batch that it is, or was split from."""
    attempts: int = 0
    counted: int = 0
    """Attempts that count against it."""
    failures: int = 0
    """Failed attempts since the endpoint was last well again."""
    recoveries: int = 0
    """How often the endpoint had become well again when it last failed."""
    due_at: float = 0.0
    """By the loop's clock, when its schedule wants the next attempt that counts."""
    first_failed_at: Standing | None = None
    own_failures: int = 0
    """Its failed attempts, and those of what it was split from."""
    reduced: bool = False
    """Whether its receiver has accepted some of it, and what is left goes on as a part of it."""

    @classmethod
    def of(cls, batch: Batch, render: Render) -> Self:
        message = render(batch)
        return cls(message, batch, render, root=message.id)

    @property
    def events(self) -> int:
        """How many parts it can be split into."""
        return len(self.batch.changes) if self.batch else 1

    @property
    def row_ids(self) -> bytes:
        """JSON: the keys of its rows, those included that an update has changed; 0 for a row without one."""
        if self.batch is None:
            return b"[]"
        keys = [change.key or NO_KEY for change in self.batch.changes]
        if self.batch.action is Action.UPDATE:
            keys += filter(None, map(_OLD_KEY, self.batch.changes))
        return b"[%b]" % b",".join(keys)

    def recovered(self, recoveries: int, at: Standing) -> None:
        """The endpoint became well again since it last failed: what failed before that tells nothing about it."""
        self.recoveries, self.failures, self.own_failures = recoveries, 0, 0
        if self.first_failed_at is not None:
            self.first_failed_at = at

    def change_of_event(self) -> dict[str, int]:
        """The ids of its changes, by those of their events (with two epochs in a batch, each change has two names)."""
        changes = self.batch.changes if self.batch else ()
        epochs = {event.partition("-")[0] for event in (self.message.first_event, self.message.last_event)}
        return {f"{epoch}-{change.id}": change.id for change in changes for epoch in epochs}

    @property
    def delivery(self) -> Delivery:
        """As the ledger knows it."""
        return Delivery(self.message, self.row_ids, self.part_of)

    def halves(self) -> list[Self]:
        """The same ones in every process."""
        assert self.batch is not None
        half = self.events // 2
        return [self._part(range(half)), self._part(range(half, self.events))]

    @property
    def change_ids(self) -> list[int]:
        return [change.id for change in self.batch.changes] if self.batch else []

    def with_later(self, change_ids: Collection[int] = (), of_rows: Collection[Row] = ()) -> frozenset[int]:
        """Ids of these changes, of all of these rows, and of those that come after them of the same rows."""
        assert self.batch is not None
        wanted, rows = set[int](), set(of_rows)
        for change in self.batch.changes:
            if change.id in change_ids or rows & rows_of(change):
                wanted.add(change.id)
                rows |= rows_of(change)
        return frozenset(wanted)

    def only(self, change_ids: Collection[int]) -> Self:
        """What is left of it when all other changes have arrived, as a part; it goes on where this one was."""
        assert self.batch is not None
        left = self._part([n for n, change in enumerate(self.batch.changes) if change.id in change_ids])
        left.attempts, left.counted = self.attempts, self.counted
        return left

    def all_but(self, left: Parcel) -> Delivery:
        """As the ledger knows what of it has arrived: with the id and the body that were sent."""
        arrived = self.only(set(self.change_ids).difference(left.change_ids))
        message = arrived.message._replace(id=self.message.id, body=self.message.body)
        return Delivery(message, arrived.row_ids, self.part_of)

    def divided(self, rows: Collection[Row]) -> tuple[Self | None, Self | None]:
        """What of it is of other rows than those, and what is of those (or of rows that they become in it)."""
        assert self.batch is not None
        ids = self.with_later(of_rows=rows)
        of_those = [change.id in ids for change in self.batch.changes]
        rest, those = ([n for n, is_one in enumerate(of_those) if is_one is wanted] for wanted in (False, True))
        return self._beside(rest) if rest else None, self._beside(those) if those else None

    def by_row(self) -> list[Self]:
        """A part for each row, in order of its first change; rows stay together that a change of the key has tied."""
        assert self.batch is not None
        rows: dict[bytes | None, list[int]] = {}
        for n, change in enumerate(self.batch.changes):
            numbers = rows.setdefault(change.key, [])
            if change.old_key is not None and (other := rows.setdefault(change.old_key, numbers)) is not numbers:
                numbers += other
                rows.update({key: numbers for key, one in rows.items() if one is other})
            numbers.append(n)
        return [self._beside(sorted(numbers)) for numbers in {id(one): one for one in rows.values()}.values()]

    def _beside(self, numbers: Sequence[int]) -> Self:
        """Some of it, which is a part of what it is itself a part of."""
        part = self._part(numbers)
        part.part_of = self.part_of
        return part

    def _part(self, numbers: Sequence[int]) -> Self:
        assert self.batch is not None
        if len(numbers) == self.events:
            return self
        table, action, changes = self.batch
        batch = Batch(table, action, tuple([changes[n] for n in numbers]))
        return type(self)(
            self.render(batch),
            batch,
            self.render,
            part_of=self.message.id,
            root=self.root,
            recoveries=self.recoveries,
            first_failed_at=self.first_failed_at,
            own_failures=self.own_failures,
        )
