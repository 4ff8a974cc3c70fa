"""Windows and pages of the change log, and how far a webhook has got. Data only.

A *window* is what became visible between two ticks; it is the same for ever. A *page* is a stretch of a window by id,
small enough for memory. *Progress* says where a webhook stands.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from cdc_hooks.model import Action, Change

SEGMENT_BITS = 18
"""A segment is 2^18 consecutive ids; one lies in one partition. The same number stands in ``sql/schema.sql``."""
MAX_PAGE_ROWS = 10_000
MAX_PAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Window:
    """The changes that the upper tick sees and the lower one does not, as ``open_window`` in SQL describes it."""

    lo_tick: int
    hi_tick: int
    first_xid: int
    snapshot: str
    late: tuple[int, ...]
    after_id: int
    upto_id: int

    @property
    def xids(self) -> int:
        """How many transaction ids were given out between its ticks, in all databases of the cluster."""
        return int(self.snapshot.split(":")[1]) - self.first_xid


def window_of(row: tuple[Any, ...]) -> Window:
    """Of a row of ``open_window``."""
    lo_tick, hi_tick, first_xid, snapshot, late, after_id, upto_id = row
    return Window(lo_tick, hi_tick, first_xid, snapshot, tuple(late), after_id, upto_id)


class Page(NamedTuple):
    """The changes of a window with ids in (after_id, to_id]. ``last``: the window ends here."""

    window: Window
    after_id: int
    to_id: int
    last: bool
    changes: list[Change]
    kinds: Collection[tuple[str, Action]]
    """The tables and actions that are among them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a webhook stands: all up to ``lo_tick`` is finished; of the window to ``hi_tick``, ids to ``after_id``.

    With ``to_id`` the page up to there is claimed: its batches are fixed, and of lane *n* the first ``done[n]`` are
    finished. ``shape`` is the fingerprint of the configuration that made these lanes. ``earlier``: descriptions of
    those that had the page before, and what they had finished of it: that is in no lane any more.
    """

    lo_tick: int
    hi_tick: int
    after_id: int
    to_id: int | None = None
    done: tuple[int, ...] = ()
    shape: str | None = None
    earlier: tuple[tuple[str, tuple[int, ...]], ...] = ()


def segment_end(change_id: int) -> int:
    """The last id of the segment that an id lies in."""
    return change_id | ((1 << SEGMENT_BITS) - 1)
