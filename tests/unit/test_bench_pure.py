"""The pure parts of the benchmark."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from bench.arrivals import body_end, rows_of
from bench.figures import growth, percentile
from bench.pace import at_random, even
from bench.report import Row

WHOLE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 23\r\nx: y\r\n\r\n" + b'{"items":[{"rowId":7}]}'


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 5), (51, 6), (99, 10), (100, 10)])
def test_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == expected


def test_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_growth_forgives_warming_up_and_sees_a_leak() -> None:
    assert growth([10, 80, 90, 90, 90, 90]) == 0
    assert growth([1, 2, 3, 4, 5, 6]) == 2
    assert growth([5, 9]) == 0


@pytest.mark.parametrize(
    ("relation", "measured", "passed"),
    [(">=", 2.0, True), (">=", 1.9, False), ("<=", 2.0, True), ("<=", 2.1, False), ("<", 2.0, False), ("<", 1.9, True)],
)
def test_a_row_passes_or_fails(relation: str, measured: float, passed: bool) -> None:
    assert Row("s", "w", measured, relation, 2.0).passed is passed  # type: ignore[arg-type]


def test_a_request_ends_with_its_body() -> None:
    assert body_end(b"POST / HTTP/1.1\r\nContent-Length: 2") is None
    assert body_end(WHOLE[:-1]) is None
    assert body_end(WHOLE) == len(WHOLE)
    assert body_end(WHOLE + WHOLE) == len(WHOLE)


def test_each_row_of_a_request_has_arrived_with_it() -> None:
    assert rows_of([(5, WHOLE), (6, WHOLE)]) == [(7, 5), (7, 6)]


@pytest.mark.parametrize("pace", [even, at_random])
def test_the_connections_together_write_at_the_rate(pace: Callable[[int, float], Iterator[float]]) -> None:
    moments = [list(itertools.takewhile(lambda moment: moment <= 100, pace(number, 200.0))) for number in range(4)]
    assert all(one == sorted(one) for one in moments)
    assert sum(map(len, moments)) == pytest.approx(20_000, rel=0.03)


def test_evenly_is_one_every_five_milliseconds() -> None:
    moments = sorted(itertools.chain.from_iterable(itertools.islice(even(number, 200.0), 10) for number in range(4)))
    assert moments == pytest.approx([0.005 * n for n in range(1, 41)])
