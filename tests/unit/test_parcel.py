"""What is left of a message, and what of it is of which row."""

from __future__ import annotations

import json

import pytest

from cdc_hooks.deliver.parcel import Parcel
from cdc_hooks.model import Action, Batch, Change, Message


def render(batch: Batch) -> Message:
    ids = "-".join(str(change.id) for change in batch.changes)
    first, last = (f"1-{batch.changes[n].id}" for n in (0, -1))
    return Message(f"msg_{ids}", b"", batch.table, batch.action, len(batch.changes), first, last, None)


def parcel(*rows: str, action: Action = Action.UPDATE) -> Parcel:
    """Changes 1, 2, ... of these rows; ``7>9`` changes the key; an empty one has none."""
    changes = []
    for number, row in enumerate(rows, 1):
        old, arrow, new = row.rpartition(">")
        key = new.encode() or None
        changes.append(Change(number, "public.orders", action, key, old.encode() if arrow else None, b"", b"{}", False))
    return Parcel.of(Batch("public.orders", action, tuple(changes)), render)


@pytest.mark.parametrize(
    ("rows", "failed", "again"),
    [
        ("7 8 9", {2}, {2}),
        ("7 8 7 8", {1}, {1, 3}),
        ("7 8 7 8", {3}, {3}),
        ("7 8 7 8", {1, 2}, {1, 2, 3, 4}),
        ("7 7>9 9 8", {1}, {1, 2, 3}),
        ("7>9 7 8 9", {1}, {1, 2, 4}),
        ("7 8 7>8 8", {2}, {2, 3, 4}),
        ("7 8 7>8 7", {2}, {2, 3, 4}),
    ],
)
def test_later_changes_of_the_same_rows(rows: str, failed: set[int], again: set[int]) -> None:
    assert parcel(*rows.split()).with_later(failed) == again


def test_without_a_key_all_changes_are_of_one_row() -> None:
    assert parcel("", "", "", action=Action.INSERT).with_later({2}) == {2, 3}


@pytest.mark.parametrize(
    ("rows", "of", "those"),
    [("7 8", "7", [1]), ("8 9", "7", []), ("7>9 8 9", "7", [1, 3]), ("8>7 8", "7", [1, 2]), ("7 7", "7", [1, 2])],
)
def test_what_is_of_a_row_and_what_is_not(rows: str, of: str, those: list[int]) -> None:
    whole = parcel(*rows.split())
    rest, held = whole.divided({("public.orders", of.encode())})
    assert (held.change_ids if held else []) == those
    assert sorted((rest.change_ids if rest else []) + those) == whole.change_ids
    assert {one.part_of for one in (rest, held) if one} == {None}


@pytest.mark.parametrize(
    ("rows", "parts"),
    [
        ("7", [[1]]),
        ("7 8 7 9", [[1, 3], [2], [4]]),
        ("7 8 7>9 9 8", [[1, 3, 4], [2, 5]]),
        ("7 8 9 7>8 8 9", [[1, 2, 4, 5], [3, 6]]),
        ("7>8 9 8>9 9", [[1, 2, 3, 4]]),
    ],
)
def test_a_part_for_each_row(rows: str, parts: list[list[int]]) -> None:
    assert [one.change_ids for one in parcel(*rows.split()).by_row()] == parts


def test_what_is_left_is_a_part_that_goes_on_where_the_whole_was() -> None:
    whole = parcel("7", "8", "9")
    whole.attempts, whole.counted = 3, 2
    left = whole.only({1, 3})
    assert (left.change_ids, left.part_of, left.attempts, left.counted) == ([1, 3], whole.message.id, 3, 2)
    assert whole.only({1, 2, 3}) is whole


def test_the_keys_that_a_delivery_is_found_by() -> None:
    assert json.loads(parcel("7", "8>9").row_ids) == [7, 9, 8]
    assert json.loads(parcel("7", "", action=Action.INSERT).row_ids) == [7, 0]
