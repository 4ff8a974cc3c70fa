"""A round: a page made into lanes of batches, and the progress that says how far they are delivered. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdc_hooks.changelog.window import Progress
from cdc_hooks.shape import Shape, fingerprint_of

if TYPE_CHECKING:
    from cdc_hooks.changelog.window import Page, Window
    from cdc_hooks.model import Batch

Earlier = tuple[tuple[str, tuple[int, ...]], ...]
"""As ``Progress.earlier``."""


@dataclass(frozen=True, slots=True)
class Round:
    """``earlier``: who had the page before; what they finished is in none of the lanes."""

    page: Page
    lanes: list[list[Batch]]
    shape: str
    earlier: Earlier = ()

    def claim(self, done: list[int]) -> Progress:
        """The progress that fixes this round's batches, ``done[n]`` of lane *n* being finished."""
        page = self.page
        return claim_of(page.window, page.after_id, page.to_id, tuple(done), self.shape, earlier=self.earlier)

    def is_finished(self, done: list[int]) -> bool:
        return all(count == len(lane) for count, lane in zip(done, self.lanes, strict=True))


def claim_of(
    window: Window, after_id: int, to_id: int, done: tuple[int, ...], shape: str, *, earlier: Earlier = ()
) -> Progress:
    """A claimed page; without ``done``, none of its lanes has finished anything."""
    return Progress(window.lo_tick, window.hi_tick, after_id, to_id, done, shape, earlier)


def after(page: Page) -> Progress:
    """Where a webhook stands when a page is finished."""
    window = page.window
    if page.last:
        return Progress(window.hi_tick, window.hi_tick, 0)
    return Progress(window.lo_tick, window.hi_tick, page.to_id)


def is_whole(page: Page) -> bool:
    """Whether it is all of its window. Only then may it be read anew with a later end: a window that ends later may
    also begin lower, with the changes of a transaction that ended meanwhile.
    """
    return page.last and page.after_id == page.window.after_id


def with_claim(claimed: Progress, described: str | None) -> Earlier:
    """Who had its page before, and it itself, for another configuration to go on.

    ``described``: the shape that the webhook's newest claims were made with. Where that is not the claim's, or of other
    rules, nobody knows any more which changes its finished batches held.
    """
    if described is None or fingerprint_of(described) != claimed.shape or Shape.of(described) is None:
        return claimed.earlier
    return (*claimed.earlier, (described, claimed.done)) if any(claimed.done) else claimed.earlier
