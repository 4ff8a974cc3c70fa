"""The daemon looks the more rarely, the more there is to find, and at once where little happens."""

from __future__ import annotations

import pytest

from cdc_hooks.changelog.pulse import POLL_BUSY_S, POLL_MIN_S, Pace


def pauses(ids_per_s: int, *, looks: int = 50) -> list[float]:
    """What a steady stream of ids comes to, where a look itself takes two milliseconds."""
    pace, now, found = Pace(), 0.0, []
    for _ in range(looks):
        found.append(pace.pause_s(int(ids_per_s * now), now))
        now += 0.002 + found[-1]
    return found


@pytest.mark.parametrize("ids_per_s", [1, 50, 200])
def test_few_changes_never_wait(ids_per_s: int) -> None:
    assert set(pauses(ids_per_s)) == {POLL_MIN_S}


@pytest.mark.parametrize(("ids_per_s", "settles_at"), [(2_000, 0.010), (5_000, 0.025), (10_000, 0.050)])
def test_the_pause_follows_the_rate(ids_per_s: int, settles_at: float) -> None:
    assert pauses(ids_per_s)[-1] == pytest.approx(settles_at, rel=0.1)


def test_it_has_a_bound() -> None:
    assert pauses(1_000_000)[-1] == POLL_BUSY_S


def test_what_was_there_before_the_first_look_is_no_rush() -> None:
    assert Pace().pause_s(5_000_000, 1_000.0) == POLL_MIN_S


def test_what_gathered_over_a_long_while_is_no_rush() -> None:
    pace = Pace()
    pace.pause_s(0, 0.0)
    assert pace.pause_s(1_000, 10.0) == POLL_MIN_S


def test_after_a_rush_it_is_quick_again() -> None:
    pace = Pace()
    pace.pause_s(0, 0.0)
    assert pace.pause_s(10_000, 0.1) == POLL_BUSY_S
    assert pace.pause_s(10_001, 0.2) == POLL_MIN_S
