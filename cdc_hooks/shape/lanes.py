"""A page of changes becomes batches, and batches are dealt to lanes that are delivered side by side.

A pure function of the page and the webhook's configuration, the same in every process: after a crash the same page
gives the same batches again. Hence no ``hash()``, which differs from process to process.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING
from zlib import crc32

from cdc_hooks.model import Action, Batch, Change
from cdc_hooks.shape.envelope import FORMATS
from cdc_hooks.shape.group import group, one_kind, slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_hooks.shape.webhook import Shape

_ACTION, _KEY, _OLD_KEY = (itemgetter(Change._fields.index(field)) for field in ("action", "key", "old_key"))


def lanes(changes: Sequence[Change], shape: Shape) -> list[list[Batch]]:
    """The batches of a page, which is in log order; none of the lanes is empty.

    The batches of a lane go out one after the other. No more lanes are used than full batches need: a hundred
    updates are one request, not four of 25.
    """
    if not changes:
        return []
    kind = one_kind(changes)
    if shape.ordering != "strict" and kind is not None and _is_easy(changes, kind[0], shape):
        return _dealt(slices(changes, kind, shape.max_events), shape.concurrency)
    sizes = FORMATS[shape.format].item_sizes(changes)
    if shape.ordering == "strict":
        return [_runs(changes, sizes, shape)]
    full_batches = max(-(-len(changes) // shape.max_events), -(-sum(sizes) // shape.max_bytes))
    width = min(shape.concurrency, full_batches)
    if shape.ordering == "none":
        return _dealt(group(changes, sizes, shape, kind), width)
    if width == 1 or _tied(changes):
        return [group(changes, sizes, shape, kind)]
    return [group(part, part_sizes, shape, kind) for part, part_sizes in _by_row(changes, sizes, width) if part]


def _is_easy(changes: Sequence[Change], table: str, shape: Shape) -> bool:
    """Whether changes of one kind may be sliced and dealt without a look at each, as those of a bulk load.

    No two are of one row, nor of rows that are tied, so any order will do; and the limit of bytes is far away.
    """
    if any(map(_OLD_KEY, changes)) or not all(map(_KEY, changes)):  # a truncate has no key
        return False
    layout = FORMATS[shape.format]
    room = shape.max_bytes - layout.envelope_size(shape, table)
    return layout.longest_item(changes) * shape.max_events <= room and len(set(map(_KEY, changes))) == len(changes)


def _dealt(batches: list[Batch], width: int) -> list[list[Batch]]:
    return [lane for n in range(width) if (lane := batches[n::width])]


def _tied(changes: Sequence[Change]) -> bool:
    """Whether the page orders rows among each other: a new key ties two rows, a truncate all rows of a table."""
    return any(map(_OLD_KEY, changes)) or Action.TRUNCATE in map(_ACTION, changes)


def _by_row(changes: Sequence[Change], sizes: list[int], width: int) -> list[tuple[list[Change], list[int]]]:
    """The changes and their sizes in ``width`` parts: all of one row (without a key: of one table) in the same part."""
    parts: list[tuple[list[Change], list[int]]] = [([], []) for _ in range(width)]
    seeds = {table: crc32(table.encode()) for table in {change.table for change in changes}}
    for change, size in zip(changes, sizes, strict=True):
        part, part_sizes = parts[crc32(change.key or b"", seeds[change.table]) % width]
        part.append(change)
        part_sizes.append(size)
    return parts


def _runs(changes: Sequence[Change], sizes: list[int], shape: Shape) -> list[Batch]:
    """Batches that keep the exact order of the log: each is a run of neighbours of one table and action."""
    batches: list[Batch] = []
    run: list[Change] = []
    room = 0
    for change, size in zip(changes, sizes, strict=True):
        fits = len(run) < shape.max_events and size <= room
        if run and not (fits and (change.table, change.action) == (run[0].table, run[0].action)):
            batches.append(Batch(run[0].table, run[0].action, tuple(run)))
            run = []
        if not run:
            room = shape.max_bytes - FORMATS[shape.format].envelope_size(shape, change.table)
        run.append(change)
        room -= size
    batches.append(Batch(run[0].table, run[0].action, tuple(run)))
    return batches
