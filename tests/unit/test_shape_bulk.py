"""Pages of one table and action, as after a bulk load: sliced, without a look at each change, where that is right."""

from __future__ import annotations

import random

import pytest

from cdc_hooks.model import Change
from cdc_hooks.shape import lanes, render
from cdc_hooks.shape.envelope import FORMATS
from tests.unit.pages import INSERT, TRUNCATE, UPDATE, change, random_page, shape


def bulk_page(length: int = 250, **options: object) -> list[Change]:
    return [change(n, UPDATE, n, **options) for n in range(1, length + 1)]


def ids(page: list[Change], **how: object) -> list[list[list[int]]]:
    return [[[one.id for one in batch.changes] for batch in lane] for lane in lanes(page, shape(**how))]


@pytest.mark.parametrize("ordering", ["key", "none"])
def test_distinct_rows_are_dealt_in_slices(ordering: str) -> None:
    first, second, third = list(range(1, 101)), list(range(101, 201)), list(range(201, 251))
    assert ids(bulk_page(), ordering=ordering, concurrency=2, max_events=100) == [[first, third], [second]]
    assert ids(bulk_page(), ordering=ordering, concurrency=4, max_events=100) == [[first], [second], [third]]
    assert ids(bulk_page(50), ordering=ordering, concurrency=4, max_events=100) == [[list(range(1, 51))]]


def test_strict_has_one_lane() -> None:
    assert len(ids(bulk_page(), ordering="strict", concurrency=4)) == 1


@pytest.mark.parametrize(
    "odd",
    [
        change(251, UPDATE, 1),  # a row for the second time
        change(251, UPDATE, 300, old_key=1),  # tied to another row
        change(251, UPDATE, None),
    ],
)
def test_one_row_that_is_not_alone_has_all_dealt_by_row(odd: Change) -> None:
    dealt = ids([*bulk_page(), odd], concurrency=4, max_events=10)
    lane_of = {number: n for n, lane in enumerate(dealt) for batch in lane for number in batch}
    assert len(lane_of) == 251
    assert lane_of[251] == lane_of[1] or odd.key is None
    if odd.old_key is not None:
        assert len(dealt) == 1


def test_truncates_are_not_dealt() -> None:
    assert len(ids([change(n, TRUNCATE, None) for n in range(1, 30)], concurrency=4, max_events=1)) == 1


@pytest.mark.parametrize("large", [0, 500, 5_000])
@pytest.mark.parametrize("ordering", ["key", "none"])
def test_the_limit_of_bytes_holds(ordering: str, large: int) -> None:
    page = bulk_page()
    page[120] = change(121, UPDATE, 121, data=b'"%b"' % (b"x" * large))
    how = shape(ordering=ordering, concurrency=4, max_events=20, max_bytes=2_500)
    batches = [batch for lane in lanes(page, how) for batch in lane]
    assert sorted(one.id for batch in batches for one in batch.changes) == list(range(1, 251))
    for batch in batches:
        assert len(render(batch, how, lambda _: 1).body) <= 2_500 or len(batch.changes) == 1


@pytest.mark.parametrize("seed", range(20))
def test_no_item_is_longer_than_the_longest(seed: int) -> None:
    layout = FORMATS["batch"]
    page = [one for one in random_page(seed) if one.key is not None]
    assert layout.longest_item(page) >= max(layout.item_sizes(page))
    plain = [change(n, INSERT, n) for n in range(random.Random(seed).randrange(1, 200))]
    if plain:
        assert layout.longest_item(plain) <= max(layout.item_sizes(plain)) + len(',"truncated":true')
