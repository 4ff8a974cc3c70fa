"""Promises about batches and lanes, tried on histories made at random: each seed is a case of its own."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from cdc_hooks.shape import lanes, render
from tests.unit.pages import DELETE, INSERT, TRUNCATE, UPDATE, change, interleave, random_page, replay, shape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdc_hooks.model import Batch, Change
    from cdc_hooks.shape import Shape

SEEDS = range(25)


def numbers(batches: Iterable[Batch]) -> list[list[int]]:
    return [[one.id for one in batch.changes] for batch in batches]


def random_shape(seed: int, ordering: str) -> Shape:
    pick = random.Random(-seed)
    return shape(
        ordering=ordering,
        concurrency=pick.choice([1, 2, 4, 7]),
        max_events=pick.choice([1, 3, 10, 100]),
        max_bytes=pick.choice([400, 1000, 5000, 256 * 1024]),
    )


def per_row(changes: Iterable[Change]) -> dict[tuple[str, bytes | None], list[int]]:
    rows = defaultdict(list)
    for one in changes:
        rows[one.table, one.key].append(one.id)
    return rows


@pytest.mark.parametrize("ordering", ["key", "strict", "none"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_change_is_in_one_batch_of_its_kind(seed: int, ordering: str) -> None:
    page = random_page(seed, key_changes=seed % 2 == 0, truncates=seed % 3 == 0)
    dealt = lanes(page, random_shape(seed, ordering))
    batches = [batch for lane in dealt for batch in lane]
    assert sorted(one for batch in batches for one in batch.changes) == sorted(page)
    assert all(lane for lane in dealt)
    for batch in batches:
        assert {(one.table, one.action) for one in batch.changes} == {(batch.table, batch.action)}
        assert list(batch.changes) == sorted(batch.changes)


@pytest.mark.parametrize("ordering", ["key", "strict"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_rows_changes_stay_in_order_however_the_lanes_interleave(seed: int, ordering: str) -> None:
    page = random_page(seed)
    dealt = lanes(page, random_shape(seed, ordering))
    delivered = [one for batch in interleave(dealt, seed) for one in batch.changes]
    assert per_row(delivered) == per_row(page)


@pytest.mark.parametrize("ordering", ["key", "strict"])
@pytest.mark.parametrize("seed", SEEDS)
def test_replaying_the_batches_rebuilds_the_tables(seed: int, ordering: str) -> None:
    page = random_page(seed, key_changes=seed % 2 == 0, truncates=seed % 3 != 0)
    dealt = lanes(page, random_shape(seed, ordering))
    assert replay(one for batch in interleave(dealt, seed) for one in batch.changes) == replay(page)


@pytest.mark.parametrize("seed", SEEDS)
def test_without_concurrency_order_is_kept_also_where_none_is_asked_for(seed: int) -> None:
    page = random_page(seed, key_changes=True, truncates=True)
    (lane,) = lanes(page, shape(ordering="none", concurrency=1, max_events=7))
    assert replay(one for batch in lane for one in batch.changes) == replay(page)


@pytest.mark.parametrize("seed", SEEDS)
def test_strict_keeps_the_order_of_the_log(seed: int) -> None:
    page = random_page(seed, key_changes=True, truncates=True)
    (lane,) = lanes(page, random_shape(seed, "strict"))
    assert [one for batch in lane for one in batch.changes] == page


@pytest.mark.parametrize("ordering", ["key", "strict", "none"])
@pytest.mark.parametrize("seed", SEEDS)
def test_both_limits_hold_for_the_whole_body(seed: int, ordering: str) -> None:
    limits = random_shape(seed, ordering)
    page = random_page(seed, key_changes=True, truncates=True)
    for lane in lanes(page, limits):
        for batch in lane:
            assert len(batch.changes) <= limits.max_events
            # The largest epoch there is: nothing about a batch's bytes may depend on it.
            size = len(render(batch, limits, lambda _: 2**31 - 1).body)
            assert size <= limits.max_bytes or len(batch.changes) == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"key": None}, {"key": "a", "old_key": "b"}, {"data": None}, {"data": None, "truncated": True}],
    ids=["plain", "no key", "new key", "no data", "too large"],
)
def test_the_byte_limit_is_exact(options: dict[str, object]) -> None:
    page = [change(number, **options) for number in range(100, 110)]
    (lane,) = lanes(page, shape(concurrency=1))
    size = len(render(lane[0], shape(), lambda _: 2**31 - 1).body)
    # Room is kept for "truncate", the longest action, and for three digits of "eventCount".
    slack = len("truncate") - len("update") + 1
    assert len(lanes(page, shape(concurrency=1, max_bytes=size + slack))[0]) == 1
    assert len(lanes(page, shape(concurrency=1, max_bytes=size + slack - 1))[0]) > 1


def test_a_change_larger_than_a_batch_goes_alone_and_closes_no_other() -> None:
    page = [change(1, key=1), change(2, key=2, data=b'"%b"' % (b"x" * 5000)), change(3, key=3)]
    (lane,) = lanes(page, shape(concurrency=1, max_bytes=1000))
    assert numbers(lane) == [[1, 3], [2]]


def test_no_changes_need_no_lane() -> None:
    assert lanes([], shape()) == []


@pytest.mark.parametrize("ordering", ["key", "none"])
@pytest.mark.parametrize(("count", "width"), [(1, 1), (100, 1), (101, 2), (250, 3), (2000, 4)])
def test_no_more_lanes_than_full_batches_need(ordering: str, count: int, width: int) -> None:
    page = [change(number, key=number) for number in range(count)]
    dealt = lanes(page, shape(ordering=ordering))
    assert len(dealt) == width


def test_bytes_fill_lanes_too() -> None:
    page = [change(number, key=number, data=b'"%b"' % (b"x" * 1000)) for number in range(10)]
    assert len(lanes(page, shape(max_bytes=5000))) == 3


def test_none_deals_the_batches_round() -> None:
    page = [change(number, key=number) for number in range(5)]
    dealt = lanes(page, shape(ordering="none", concurrency=2, max_events=1))
    assert [numbers(lane) for lane in dealt] == [[[0], [2], [4]], [[1], [3]]]


@pytest.mark.parametrize(
    "tie", [change(500, UPDATE, 900, old_key=1), change(500, TRUNCATE, None)], ids=["a new key", "a truncate"]
)
def test_what_ties_rows_leaves_one_lane(tie: Change) -> None:
    page = [change(number, key=number) for number in range(400)]
    assert len(lanes(page, shape())) == 4
    assert len(lanes([*page, tie], shape())) == 1


def test_rows_without_a_key_share_the_order_of_their_table() -> None:
    page = [change(n, (INSERT, UPDATE, DELETE)[n % 3], None, table="public.log") for n in range(200)]
    (lane,) = lanes(page, shape(max_events=10))
    assert [one.id for batch in lane for one in batch.changes] == list(range(200))


def test_grouping_puts_a_change_in_the_earliest_batch_that_its_row_allows() -> None:
    page = [
        change(1, INSERT, 1),
        change(2, UPDATE, 1),
        change(3, INSERT, 2),
        change(4, DELETE, 1),
        change(5, UPDATE, 2),
        change(6, INSERT, 1),
        change(7, INSERT, 3),
    ]
    (lane,) = lanes(page, shape(concurrency=1))
    assert numbers(lane) == [[1, 3, 7], [2, 5], [4], [6]]


def test_a_truncate_comes_after_all_of_its_table_and_before_the_rest() -> None:
    page = [
        change(1, INSERT, 1),
        change(2, INSERT, 9, table="public.customers"),
        change(3, TRUNCATE, None),
        change(4, TRUNCATE, None),
        change(5, INSERT, 2),
        change(6, INSERT, 8, table="public.customers"),
    ]
    (lane,) = lanes(page, shape(concurrency=1))
    assert numbers(lane) == [[1], [2, 6], [3, 4], [5]]


def test_a_new_key_ties_both_rows() -> None:
    page = [
        change(1, INSERT, 1),
        change(2, UPDATE, 2, old_key=1),
        change(3, INSERT, 1),  # the old key, free again
        change(4, DELETE, 2),
    ]
    (lane,) = lanes(page, shape(concurrency=1))
    assert numbers(lane) == [[1], [2], [3], [4]]


@pytest.mark.parametrize("ordering", ["key", "strict", "none"])
def test_another_process_makes_the_same_batches(ordering: str) -> None:
    program = (
        "from cdc_hooks.shape import lanes, render\n"
        "from tests.unit.pages import random_page, shape\n"
        f"how = shape(ordering={ordering!r}, max_events=20)\n"
        "for lane in lanes(random_page(1), how):\n"
        "    print([render(batch, how, lambda _: 1).id for batch in lane])\n"
        "print(how.fingerprint())\n"
    )

    def said(hash_seed: str) -> str:
        environment = {"PYTHONHASHSEED": hash_seed}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return run.stdout

    assert said("1") == said("2") != ""


def steps(page: list[Change], how: Shape) -> int:
    """How many lines of Python it takes to deal a page: a measure of effort that does not depend on the machine."""
    count = 0

    def trace(_frame, event, _argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        lanes(page, how)
    finally:
        sys.settrace(before)
    return count


def one_row(length: int) -> list[Change]:
    return [change(n, (INSERT, DELETE)[n % 2], 1) for n in range(length)]


def alternating(length: int) -> list[Change]:
    """Half of it opens ever new batches, half of it has to be placed among them."""
    return [*one_row(length // 2), *(change(n, (INSERT, DELETE)[n % 2], n // 4) for n in range(length // 2, length))]


def large_and_small(length: int) -> list[Change]:
    sizes = (10, 700, 300, 5000)
    return [change(n, (INSERT, DELETE)[n % 2], n % 97, data=b"x" * sizes[n % 4]) for n in range(length)]


def full_in_the_middle(length: int) -> list[Change]:
    """The first batch of inserts stays open; behind it one after the other is filled, and each must be passed over."""
    page = one_row(length // 2)
    for row in range(2, length // 4):
        page += [change(length + 2 * row, DELETE, row), change(length + 2 * row + 1, INSERT, row, data=b"x" * 900)]
    return page


@pytest.mark.parametrize(
    ("pages", "max_events"), [(one_row, 5), (alternating, 5), (large_and_small, 5), (full_in_the_middle, 100_000)]
)
@pytest.mark.parametrize("ordering", ["key", "none"])
def test_twice_the_changes_are_twice_the_work(pages, max_events: int, ordering: str) -> None:
    how = shape(ordering=ordering, concurrency=1, max_events=max_events, max_bytes=1500)
    small, large = steps(pages(1500), how), steps(pages(12000), how)
    assert large < 8 * 1.3 * small
