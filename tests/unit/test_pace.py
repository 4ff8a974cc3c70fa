"""The daemon looks the more rarely, the more there is to find, and at once where little happens."""

from __future__ import annotations

import pytest

from cdc_hooks.changelog.pulse import POLL_BUSY_S, POLL_MIN_S, Head, Pace, found_by
from cdc_hooks.changelog.window import Page, Window
from tests.unit.pages import UPDATE, change

LOOK_S = 0.002
"""What a look itself takes, more or less."""


def pauses(
    transactions_per_s: int, *, pace: Pace | None = None, begin_s: float = 0.0, for_s: float = 2.0
) -> list[float]:
    """What a steady stream of transactions comes to."""
    pace, now, seen, found = pace or Pace(), begin_s, 0, []
    while now < begin_s + for_s:
        now += LOOK_S + (found[-1] if found else POLL_MIN_S)
        total = int(transactions_per_s * (now - begin_s))
        if total > seen:  # a look that finds nothing asks for no pause of this kind
            found.append(pace.pause_s(total - seen, now))
            seen = total
    return found


@pytest.mark.parametrize("transactions_per_s", [1, 50, 100])
def test_few_never_wait(transactions_per_s: int) -> None:
    assert set(pauses(transactions_per_s)) == {POLL_MIN_S}


@pytest.mark.parametrize(
    ("transactions_per_s", "settles_at"),
    [(200, 0.001), (1_000, 0.005), (2_000, 0.010), (5_000, 0.025), (10_000, 0.050)],
)
def test_the_pause_follows_the_rate(transactions_per_s: int, settles_at: float) -> None:
    assert pauses(transactions_per_s)[-1] == pytest.approx(settles_at, rel=0.15)


def test_it_has_a_bound() -> None:
    assert pauses(1_000_000)[-1] == POLL_BUSY_S


def test_what_was_there_before_the_first_look_is_no_rush() -> None:
    assert Pace().pause_s(5_000_000, 1_000.0) == POLL_MIN_S


def test_what_gathered_over_a_long_while_is_no_rush() -> None:
    pace = Pace()
    pace.pause_s(0, 0.0)
    assert pace.pause_s(1_000, 10.0) == POLL_MIN_S


def test_a_few_at_a_time_are_no_rush() -> None:
    """They count for what they add to the mean rate, however shortly after others they were found."""
    pace = Pace()
    pauses(200, pace=pace)
    assert pace.pause_s(20, 2.005) < 3 * POLL_MIN_S


def window(*, xids: int, ids: int) -> Window:
    return Window(1, 2, 1_000, f"990:{1_000 + xids}:990,995", (), 50, 50 + ids)


def page(of: Window, changes: int) -> Page:
    return Page(of, of.after_id, of.upto_id, True, [change(n) for n in range(changes)], {("public.orders", UPDATE)})


@pytest.mark.parametrize(
    ("xids", "ids", "changes", "found"),
    [
        (1, 3_000, None, 1),  # a large transaction
        (400, 500, 500, 400),  # of two rows now and then
        (9_000, 5, 5, 5),  # others are busy, with what is not captured
        (9_000, 500, 5, 5),  # the others' changes are not committed yet
        (2_000, 2_500, None, 2_000),
    ],
)
def test_captured_transactions_are_counted(xids: int, ids: int, changes: int | None, found: int) -> None:
    head = Head(1)
    its = window(xids=xids, ids=ids)
    head.move(its, None if changes is None else page(its, changes))
    assert found_by(head) == found


def test_a_tick_that_was_made_for_another_reason_is_no_rush() -> None:
    head = Head(1)
    head.advance(2)
    assert found_by(head) == 0


def test_after_a_rush_it_is_quick_again() -> None:
    pace = Pace()
    assert pauses(20_000, pace=pace)[-1] == POLL_BUSY_S
    assert pauses(100, pace=pace, begin_s=2.0)[-1] == POLL_MIN_S
