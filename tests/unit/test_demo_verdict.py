"""The demo's verdict: right only where everything is, and wrong for each thing that is not."""

import math
from dataclasses import replace

import pytest

from cdc_hooks.demo.books import Books
from cdc_hooks.demo.verdict import (
    Delivery,
    Evidence,
    RowChange,
    Transaction,
    arrivals,
    exact,
    judge,
    key_in,
    key_of,
    latencies,
    percentile,
    rebuilt,
)


def change(version, action="update", key="1", table="orders", text=""):
    return RowChange(table, action, key, version, {"version": version, "note": text})


def delivery(at, *changes, first=1):
    numbered = tuple((f"1-{first + n}", one) for n, one in enumerate(changes))
    return Delivery(f"msg_{at}", at, changes[0].table, changes[0].action, numbered)


CREATED, PAID, SHIPPED = change(1, "insert"), change(2), change(3)
OTHER, GONE = change(1, "insert", key="2"), change(1, "delete", key="2")
FIVE = (
    delivery(0.011, CREATED, OTHER, first=1),
    delivery(0.022, PAID, first=3),
    delivery(0.033, SHIPPED, first=4),
    delivery(0.044, GONE, first=5),
)
GOOD = Evidence(
    committed=[
        Transaction(0.010, (CREATED, OTHER)),
        Transaction(0.020, (PAID,)),
        Transaction(0.030, (SHIPPED,)),
        Transaction(0.040, (GONE,)),
    ],
    undone=[change(2, text=" undone")],
    deliveries=FIVE,
    rejected=0,
    tables={"customers": {}, "products": {}, "orders": {"1": SHIPPED.row}, "order_lines": {}},
)


def problems(**different):
    verdict = judge(replace(GOOD, **different))
    assert not verdict.ok
    assert verdict.line.startswith("Verdict: WRONG")
    return verdict.problems


def test_all_as_it_should_be():
    verdict = judge(GOOD)
    assert verdict.ok
    assert verdict.line == (
        "Verdict: right: all 5 changes of 4 committed transactions arrived, each once and in order per row, "
        "and nothing of what was rolled back (1 changes); 4 requests, all signatures valid; "
        "4 tables rebuilt from the deliveries alone equal the originals; commit to receipt p50 2.0 ms, p99 4.0 ms."
    )


def test_a_change_that_is_missing():
    assert "1 committed changes did not arrive" in problems(deliveries=FIVE[:3])


def test_a_change_whose_content_was_altered():
    altered = delivery(0.033, replace(SHIPPED, row={"status": "something else"}), first=4)
    found = problems(deliveries=(*FIVE[:2], altered, FIVE[3]))
    assert "1 committed changes did not arrive" in found
    assert "1 changes arrived that nobody committed" in found
    assert "1 rebuilt rows differ" in found


def test_a_change_that_was_rolled_back():
    assert problems(deliveries=(*FIVE, delivery(0.05, *GOOD.undone, first=6))) == (
        "1 changes arrived that were rolled back",
        "the changes of 1 rows arrived out of order",
        "1 rebuilt rows differ",
    )


def test_a_change_that_arrived_twice():
    assert problems(deliveries=(*FIVE, FIVE[3])) == ("1 changes arrived more than once",)


def test_the_same_change_as_another_event():
    assert problems(deliveries=(*FIVE, delivery(0.05, GONE, first=9))) == ("1 changes arrived that nobody committed",)


def test_a_row_whose_changes_arrived_in_the_wrong_order():
    found = problems(deliveries=(FIVE[0], FIVE[2], FIVE[1], FIVE[3]))
    assert found == ("the changes of 1 rows arrived out of order", "1 rebuilt rows differ")


def test_a_delete_before_the_insert():
    assert "the changes of 1 rows arrived out of order" in problems(
        deliveries=(FIVE[3], delivery(0.01, OTHER, first=2), delivery(0.02, CREATED), FIVE[1], FIVE[2])
    )


def test_a_wrong_signature():
    assert problems(rejected=3) == ("3 requests had a wrong signature",)


def test_a_table_that_holds_what_never_arrived():
    assert problems(tables={"orders": {"1": SHIPPED.row, "3": {}}}) == ("1 rebuilt rows differ",)


def test_nothing_at_all_is_no_proof():
    found = problems(committed=[], undone=[], deliveries=[], tables={})
    assert found == ("nothing was committed, and so nothing is shown",)


def test_rebuilding_applies_what_arrives():
    assert rebuilt([CREATED, OTHER, PAID, GONE])["orders"] == {"1": PAID.row}


def test_latency_counts_to_the_last_change_of_a_transaction():
    spans = latencies(
        [Transaction(1.0, (CREATED, OTHER)), Transaction(2.0, (PAID,)), Transaction(3.0, (SHIPPED,))],
        arrivals([delivery(1.5, CREATED), delivery(1.75, OTHER), delivery(2.25, PAID), delivery(9.0, PAID)]),
    )
    assert spans == [0.25, 0.75]


def test_percentiles_are_nearest_ranks():
    assert [percentile([1, 2, 3, 4], percent) for percent in (0, 25, 50, 51, 99, 100)] == [1, 1, 2, 3, 4, 4]
    assert math.isnan(percentile([], 50))


def test_values_are_compared_digit_for_digit():
    assert exact('{"b": 1.50, "a": [null, "é", 2]}') == {"b": "1.50", "a": [None, "é", 2]}


@pytest.mark.parametrize(
    ("table", "row", "row_id"),
    [
        ("orders", {"order_id": 7, "status": "open"}, 7),
        ("order_lines", {"line_no": 2, "price": "1.50", "order_id": 7}, {"order_id": 7, "line_no": 2}),
    ],
)
def test_a_key_is_the_same_from_the_row_and_from_the_request(table, row, row_id):
    assert key_of(table, row) == key_in(row_id)


def test_the_books_measure_from_commit_to_the_last_receipt():
    books = Books()
    books.commit(Transaction(1.0, (CREATED, OTHER)))
    books.deliver(delivery(1.25, CREATED))
    assert (books.in_flight, books.latencies) == (1, [])
    books.deliver(delivery(1.5, OTHER))
    assert (books.in_flight, books.latencies) == (0, [0.5])


def test_the_books_take_a_receipt_that_comes_before_the_writer_knows_of_its_commit():
    books = Books()
    books.deliver(delivery(1.25, CREATED))
    books.commit(Transaction(1.0, (CREATED,)))
    assert (books.in_flight, books.latencies) == (0, [0.25])


def test_the_books_leave_out_transactions_that_changed_nothing():
    books = Books()
    books.commit(Transaction(1.0, ()))
    assert books.committed == []
