"""Sums about requests, and graphs in a line."""

from __future__ import annotations

import pytest

from cdc_hooks.cli.watching import sparkline
from cdc_hooks.ops.statistics import BOUNDS_S, Sums, total


def sums(*durations: float, failed: int = 0) -> Sums:
    counted = Sums()
    for number, duration in enumerate(durations):
        counted.attempted(duration, delivered=number >= failed)
    return counted


def test_nothing_has_no_rate_and_no_latency() -> None:
    assert (Sums().success_rate, Sums().mean_s, Sums().quantile_s(0.95)) == (None, None, None)


def test_rate_and_mean() -> None:
    counted = sums(0.01, 0.02, 0.03, 0.06, failed=1)
    assert counted.success_rate == 0.75
    assert counted.mean_s == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("part", "low", "high"), [(0.5, 0.001, 0.002), (0.9, 0.001, 0.002), (0.95, 0.2, 0.5), (1, 0.2, 0.5)]
)
def test_a_quantile_lies_in_its_bucket(part: float, low: float, high: float) -> None:
    guess = sums(*[0.0015] * 90, *[0.3] * 10).quantile_s(part)
    assert guess is not None
    assert low <= guess <= high


def test_what_is_beyond_all_bounds_counts_as_the_last() -> None:
    assert sums(1000.0).quantile_s(0.95) == BOUNDS_S[-1]


def test_a_bound_belongs_to_its_bucket() -> None:
    assert sums(0.001).buckets[0] == 1
    assert sums(0.0011).buckets[1] == 1


def test_sums_add_up() -> None:
    both = total([sums(0.01, 0.02, failed=1), sums(5.0)])
    assert (both.attempts, both.failed, both.seconds, sum(both.buckets)) == (3, 1, pytest.approx(5.03), 3)
    assert total([]) == Sums()


def test_a_graph_in_a_line() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([0, 3.5, 7]) == "▁▅█"
