"""The daemon looks the more rarely, the more there is to find, and at once where little happens."""

from __future__ import annotations

import pytest

from cdc_hooks.changelog.pulse import POLL_BUSY_S, POLL_MIN_S, Pace

LOOK_S = 0.002
"""What a look itself takes, more or less."""


def pauses(changes_per_s: int, *, pace: Pace | None = None, begin_s: float = 0.0, for_s: float = 2.0) -> list[float]:
    """What a steady stream of changes comes to."""
    pace, now, seen, found = pace or Pace(), begin_s, 0, []
    while now < begin_s + for_s:
        now += LOOK_S + (found[-1] if found else POLL_MIN_S)
        total = int(changes_per_s * (now - begin_s))
        if total > seen:  # a look that finds nothing asks for no pause of this kind
            found.append(pace.pause_s(total - seen, now))
            seen = total
    return found


@pytest.mark.parametrize("changes_per_s", [1, 50, 100])
def test_few_changes_never_wait(changes_per_s: int) -> None:
    assert set(pauses(changes_per_s)) == {POLL_MIN_S}


@pytest.mark.parametrize(
    ("changes_per_s", "settles_at"), [(200, 0.001), (1_000, 0.005), (2_000, 0.010), (5_000, 0.025), (10_000, 0.050)]
)
def test_the_pause_follows_the_rate(changes_per_s: int, settles_at: float) -> None:
    assert pauses(changes_per_s)[-1] == pytest.approx(settles_at, rel=0.15)


def test_it_has_a_bound() -> None:
    assert pauses(1_000_000)[-1] == POLL_BUSY_S


def test_what_was_there_before_the_first_look_is_no_rush() -> None:
    assert Pace().pause_s(5_000_000, 1_000.0) == POLL_MIN_S


def test_what_gathered_over_a_long_while_is_no_rush() -> None:
    pace = Pace()
    pace.pause_s(0, 0.0)
    assert pace.pause_s(1_000, 10.0) == POLL_MIN_S


def test_a_transaction_of_a_hundred_rows_is_no_rush() -> None:
    """It counts for what it adds to the mean rate, however shortly after another one it was found."""
    pace = Pace()
    pauses(200, pace=pace)
    assert pace.pause_s(100, 2.005) < POLL_BUSY_S / 5


def test_after_a_rush_it_is_quick_again() -> None:
    pace = Pace()
    assert pauses(20_000, pace=pace)[-1] == POLL_BUSY_S
    assert pauses(100, pace=pace, begin_s=2.0)[-1] == POLL_MIN_S
