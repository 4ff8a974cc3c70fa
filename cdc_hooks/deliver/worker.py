"""One webhook's way through the log, round by round.

A round: take the next page, shape it into lanes of batches, claim it (from then on the batches are fixed), deliver the
lanes side by side, acknowledge. The reader reads the next page meanwhile. A claim is durable before the first
of its batches is sent; acknowledgements follow within milliseconds, and what a crash finds unrecorded is sent again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import structlog

from cdc_hooks.changelog.window import Page, Progress, Window
from cdc_hooks.deliver.backlog import Backlog
from cdc_hooks.deliver.recorder import Recorder
from cdc_hooks.deliver.round import Round, after, claim_of, is_whole, with_claim
from cdc_hooks.shape import lanes, left_of, render_gap, route

if TYPE_CHECKING:
    from cdc_hooks.changelog.journal import Journal
    from cdc_hooks.changelog.pulse import Head
    from cdc_hooks.changelog.reader import Reader
    from cdc_hooks.deliver.courier import Courier
    from cdc_hooks.deliver.round import Earlier
    from cdc_hooks.model import Change, Gap, Message
    from cdc_hooks.shape import Shape

PARTIAL_SAVE_S = 0.02
"""How long finished batches may stay unrecorded, if no claim comes first; after a crash they are sent again."""
NOTHING_SAVE_S = 1.0
"""How long a stretch of the log that holds nothing for this webhook may stay unrecorded; a crash has it read again."""

log = structlog.get_logger()


class Worker:
    """Delivers one webhook's changes until it is told to stop.

    ``described``: the shape that its newest claims were made with.
    """

    def __init__(
        self,
        webhook_id: int,
        progress: Progress,
        shape: Shape,
        courier: Courier,
        *,
        journal: Journal,
        reader: Reader,
        head: Head,
        epoch_of: Callable[[int], int],
        on_gap: Callable[[Gap], None],
        max_wait_s: float = 0.0,
        described: str | None = None,
    ) -> None:
        self._shape = shape
        self._fingerprint = shape.fingerprint()
        self._described = described
        self._courier = courier
        self._id = webhook_id
        self._journal = journal
        self._recorder = Recorder(journal, webhook_id)
        self._reader = reader
        self._head = head
        self._epoch_of = epoch_of
        self._on_gap = on_gap
        self._max_wait_s = max_wait_s
        self._stopping = False
        self._gaps = True
        self._progress = progress
        self._window: Window | None = None
        self._backlog = Backlog(courier, head)
        self._fruitful = True
        self._claimed: Page | None = None
        self._next: asyncio.Task[Page] | None = None

    @property
    def progress(self) -> Progress:
        """Where it stands now; what is recorded may be a little behind."""
        return self._progress

    def stop(self, *, after_batches: bool = False) -> None:
        """Finish the attempts that are under way, then return from ``run``. May be called before it, and twice.

        ``after_batches``: finish the batches that are under way, as far as nothing fails. For the case that the next
        worker would make other batches, and send again what has arrived of one that is not finished.
        """
        self._stopping = True
        if after_batches:
            self._courier.hurry()
        else:
            self._courier.stop()
        if self._next is not None:
            self._next.cancel()

    async def run(self) -> None:
        try:
            if self._progress.lo_tick < self._progress.hi_tick:
                self._window = await self._reader.open_window(self._progress.lo_tick, self._progress.hi_tick)
            if self._window is not None and self._progress.to_id is not None:
                await self._resume(self._window, self._progress)
            else:
                await self._describe()
            if not self._stopping:
                await self._courier.forget_unfinished(await self._untold())
            while not self._stopping:
                await self._tell_gaps()
                page = await self._page_or_stop()
                await self._tell_gaps()
                if page is None or self._stopping:
                    break
                this = await self._claimed_round(page)
                if self._fruitful:
                    await self._deliver(this, [0] * len(this.lanes))
                else:
                    self._arrive(page)
                    self._recorder.soon(self._progress, NOTHING_SAVE_S)
            await self._recorder.flush()
        finally:
            await self._recorder.close()

    def look_for_gaps(self) -> None:
        """There may be a gap that the receiver must be told of, before what comes after it."""
        self._gaps = True

    async def _tell_gaps(self) -> None:
        if not self._gaps:
            return
        self._gaps = False
        for gap in await self._journal.untold_gaps(self._id):
            self._on_gap(gap)
            if not await self._courier.tell(self._news_of(gap)):
                return
            await self._journal.told_gap(gap)

    async def _untold(self) -> set[str]:
        """Ids of the messages that are still to tell of gaps."""
        return {self._news_of(gap).id for gap in await self._journal.untold_gaps(self._id)}

    def _news_of(self, gap: Gap) -> Message:
        return render_gap(gap, self._shape, self._epoch_of)

    # -- pages ----------------------------------------------------------------------------------------------------

    async def _page_or_stop(self) -> Page | None:
        if self._stopping:
            return None
        self._next = asyncio.create_task(self._gathered_page())
        try:
            return await self._next
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._stopping and not (task and task.cancelling()):
                return None
            self._next.cancel()
            raise
        finally:
            self._next = None

    async def _gathered_page(self) -> Page:
        """The next page; if it is small and the webhook wants to wait for more, a page of what gathers meanwhile."""
        page = await self._next_page()
        if not self._max_wait_s:
            return page
        deadline = time.monotonic() + self._max_wait_s
        while is_whole(page) and 0 < len(self._wanted(page)) < self._shape.max_events:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left):
                    head = await self._head.beyond(page.window.hi_tick)
            except TimeoutError:
                break
            page = await self._first_page(page.window.lo_tick, head)
        return page

    async def _next_page(self) -> Page:
        if self._window is not None:
            return await self._reader.page(self._window, self._progress.after_id)
        lo = self._progress.lo_tick
        # What is claimed at once should most likely have something for us in it, and be made into batches as it is.
        claim = (self._id, self._fingerprint) if self._fruitful and not self._max_wait_s else None
        hi = await self._backlog.beyond(lo, claim)
        newest = self._head.window
        if newest is None or (newest.lo_tick, newest.hi_tick) != (lo, hi):
            return await self._first_page(lo, hi)
        self._window = newest
        page = self._head.page
        if page is None:
            return await self._reader.page(newest, newest.after_id)
        if self._head.is_claimed_for(self._id, self._fingerprint):
            self._claimed = page
            self._recorder.forget()
        return page

    async def _first_page(self, lo: int, hi: int) -> Page:
        self._window = await self._reader.open_window(lo, hi)
        # Recorded, so that the ticks are not trimmed meanwhile: it may take long to read.
        self._recorder.soon(Progress(lo, hi, self._window.after_id), 0.0)
        return await self._reader.page(self._window, self._window.after_id)

    async def _claimed_round(self, page: Page) -> Round:
        """The round of a page, which is claimed if there is anything in it: from here on its batches are fixed.

        Most likely there is, if there was in the one before: then the claim is written while the batches are made.
        """
        claim = claim_of(page.window, page.after_id, page.to_id, (), self._fingerprint)
        claimed = None
        if self._fruitful and page is not self._claimed:
            claimed = self._recorder.now(claim)
            await asyncio.sleep(0)  # lets it be sent, before we are busy
        this = self._round(page)
        self._fruitful = any(this.lanes)
        if claimed is not None:
            await claimed
        elif self._fruitful and page is not self._claimed:
            await self._recorder.now(claim)
        return this

    # -- rounds ---------------------------------------------------------------------------------------------------

    def _round(self, page: Page, earlier: Earlier = ()) -> Round:
        """The same page and configuration always give the same batches."""
        left = page._replace(changes=left_of(page.changes, page.kinds, earlier)) if earlier else page
        return Round(left, lanes(self._wanted(left), self._shape), self._fingerprint, earlier)

    def _wanted(self, page: Page) -> Sequence[Change]:
        return route(page.changes, page.kinds, self._shape)

    async def _resume(self, window: Window, claimed: Progress) -> None:
        """Go on with a round that was claimed before: the same batches, but for those that are finished.

        With another configuration: other batches, of what those that are finished have left.
        """
        assert claimed.to_id is not None
        page = await self._reader.claimed_page(window, claimed.after_id, claimed.to_id)
        this = self._round(page, claimed.earlier)
        done = list(claimed.done) or [0] * len(this.lanes)
        anew = claimed.shape != this.shape or len(done) != len(this.lanes)
        if anew:
            log.warning("claim_shaped_anew", webhook=self._shape.webhook, reason="the configuration has changed")
            this = self._round(page, with_claim(claimed, self._described))
            done = [0] * len(this.lanes)
        # Also where it says nothing new: who cannot record anything would send the same again and again.
        await self._recorder.now(this.claim(done))
        if anew:
            await self._courier.made_anew(chain.from_iterable(this.lanes), await self._untold())
        await self._describe()
        await self._deliver(this, done)

    async def _describe(self) -> None:
        """Before anything is claimed by it: whoever comes next, with another configuration, must know this one."""
        described = self._shape.described()
        if described != self._described:
            await self._journal.write("describe_shape", webhook_id=self._id, shape=described)
            self._described = described

    async def _deliver(self, this: Round, done: list[int]) -> None:
        """Deliver what is left of a round, its lanes side by side, and count in ``done`` what is finished."""

        async def deliver_lane(lane: int) -> None:
            for batch in this.lanes[lane][done[lane] :]:
                if self._stopping or not await self._courier.deliver(batch):
                    return
                done[lane] += 1
                self._recorder.soon(this.claim(done), PARTIAL_SAVE_S)

        if len(this.lanes) == 1:
            await deliver_lane(0)
        else:
            try:
                async with asyncio.TaskGroup() as group:
                    for lane in range(len(this.lanes)):
                        group.create_task(deliver_lane(lane))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
        if this.is_finished(done):
            self._arrive(this.page)
        else:
            self._progress = this.claim(done)
        self._recorder.soon(self._progress, PARTIAL_SAVE_S)

    def _arrive(self, page: Page) -> None:
        self._progress = after(page)
        if page.last:
            self._window = None
