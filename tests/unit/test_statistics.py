"""Sums about requests, and graphs in a line."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from cdc_hooks.cli import showing
from cdc_hooks.cli.output import took
from cdc_hooks.cli.watching import sparkline
from cdc_hooks.ops.statistics import Sums, total
from cdc_hooks.ops.status import Statistics, StatusReport
from tests.unit.test_fitting import a_webhook


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


@pytest.mark.parametrize("durations", [[0.203] * 10, [0.0001], [0.0021, 0.0022], [61.0, 1000.0], [59.0], [0.002] * 3])
def test_no_quantile_is_more_than_the_longest_took(durations: list[float]) -> None:
    for part in (0.5, 0.95, 1):
        found = sums(*durations).quantile_s(part)
        assert found is not None
        assert 0 < found <= max(durations)
    assert sums(*durations).quantile_s(1) == pytest.approx(max(durations))


def test_a_bound_belongs_to_its_bucket() -> None:
    assert sums(0.001).buckets[0] == 1
    assert sums(0.0011).buckets[1] == 1


def test_sums_add_up() -> None:
    both = total([sums(0.01, 0.02, failed=1), sums(5.0)])
    assert (both.attempts, both.failed, both.seconds, sum(both.buckets)) == (3, 1, pytest.approx(5.03), 3)
    assert both.longest == 5.0
    assert total([]) == Sums()


def test_a_graph_in_a_line() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([0, 3.5, 7]) == "▁▅█"


def test_spans_of_which_all_is_the_same_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    few, more = Statistics(7, 0.9999, 0.0004, 0.3, 12.0), Statistics(1234, 1.0, 0.01, 0.02, 0.03)

    def shown(hour: Statistics, day: Statistics, month: Statistics) -> list[list[str]]:
        webhook = replace(
            a_webhook("w", "active", ""), dead_letters=0, statistics={"hour": hour, "day": day, "month": month}
        )
        showing.show(StatusReport(None, None, 0, webhooks=[webhook]), as_json=False)
        lines = capsys.readouterr().out.partition("over the last")[2].splitlines()[1:]
        return [re.split(r" {2,}", line) for line in lines]

    assert shown(few, few, few) == [["w", "hour, day, 30 days", "7", "99.9 %", "0.4 ms", "300 ms", "12.0 s"]]
    assert [line[1:3] for line in shown(few, more, more)] == [["hour", "7"], ["day, 30 days", "1,234"]]
    assert [line[1] for line in shown(few, more, few)] == ["hour", "day", "30 days"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0.0, "0.0 ms"), (0.0004, "0.4 ms"), (0.035, "35 ms"), (9.9, "9,900 ms"), (20.06, "20.1 s")],
)
def test_how_long_it_took(seconds: float | None, words: str) -> None:
    assert took(seconds) == words
