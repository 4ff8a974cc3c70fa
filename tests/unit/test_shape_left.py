"""What is left of a page that other configurations have delivered in part."""

from __future__ import annotations

import json

import pytest

from cdc_hooks.shape import Shape, Subscription, fingerprint_of, lanes, left_of, route
from tests.unit.pages import DELETE, INSERT, UPDATE, random_page, shape

SOME = Subscription(frozenset({UPDATE, DELETE}), ("id",), passthrough=False)
OTHERS = {
    "batches": shape(max_events=7),
    "bytes": shape(max_bytes=1500),
    "ordering": shape(ordering="strict"),
    "free": shape(ordering="none", max_events=13),
    "lanes": shape(concurrency=2, max_events=20),
    "fields": shape(subscriptions={"public.orders": SOME}),
    "client": shape(client_code="ä-7"),
}


@pytest.mark.parametrize("one", OTHERS.values(), ids=OTHERS)
def test_a_shape_that_was_described_makes_the_same_batches(one: Shape) -> None:
    again = Shape.of(one.described())
    assert again is not None
    assert again.fingerprint() == one.fingerprint() == fingerprint_of(one.described())
    page = random_page(1)
    kinds = {(change.table, change.action) for change in page}
    assert lanes(route(page, kinds, again), again) == lanes(route(page, kinds, one), one)


def test_a_description_holds_no_secret() -> None:
    assert "Uk8a3" not in shape(hmac_key=b"Uk8a3").described()


def test_a_shape_of_other_rules_is_unknown() -> None:
    rules, *rest = json.loads(shape().described())
    assert Shape.of(json.dumps([rules - 1, *rest])) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("one", OTHERS.values(), ids=OTHERS)
def test_what_one_configuration_after_the_other_finishes_is_all_of_it_once(one: Shape, seed: int) -> None:
    page = random_page(seed, key_changes=True)
    kinds = {(change.table, change.action) for change in page}
    finished: list[int] = []
    earlier = []
    for now in (shape(), one, shape(max_events=30)):
        left = left_of(page, kinds, earlier)
        assert sorted(finished + [change.id for change in left]) == [change.id for change in page]
        made = lanes(route(left, kinds, now), now)
        done = [len(lane) // 2 for lane in made]
        batches = [batch for lane, n in zip(made, done, strict=True) for batch in lane[:n]]
        finished += [change.id for batch in batches for change in batch.changes]
        earlier.append((now.described(), done))


def test_what_cannot_be_made_again_takes_nothing_away() -> None:
    page = random_page(1)
    kinds = {(change.table, change.action) for change in page}
    known = shape(max_events=10)
    done = [1] * len(lanes(page, known))
    rules, *rest = json.loads(known.described())
    of_other_rules = json.dumps([rules + 1, *rest])
    assert left_of(page, kinds, [(of_other_rules, done), (known.described(), done)]) == page
    assert left_of(page, kinds, [(known.described(), [*done, 1])]) == page
    assert len(left_of(page, kinds, [(known.described(), done), (of_other_rules, done)])) < len(page)


def test_a_page_without_anything_to_send_is_left_as_it_is() -> None:
    page = [change for change in random_page(1) if change.action is INSERT]
    only_updates = shape(subscriptions={"public.orders": Subscription(frozenset({UPDATE}), None, passthrough=True)})
    assert left_of(page, {("public.orders", INSERT)}, [(only_updates.described(), [])]) == page
