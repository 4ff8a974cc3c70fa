"""What is sent: bodies, ids, names, and which changes a webhook gets."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace

import pytest

from cdc_hooks.model import Action, Batch
from cdc_hooks.shape import Subscription, render, route
from cdc_hooks.shape.envelope import display_name
from tests.unit.pages import ALL, AT, DELETE, INSERT, TRUNCATE, UPDATE, change, shape


def body_of(*changes, **options) -> str:
    batch = Batch(changes[0].table, changes[0].action, changes)
    return render(batch, shape(**options), lambda _: 1).body.decode()


def items_of(*changes) -> str:
    return body_of(*changes).partition('"items":')[2].removesuffix("}")


def test_the_body_to_the_byte() -> None:
    batch = Batch("public.orders", UPDATE, (change(4711, key=17), change(4712, key=18, data=b'{"total": 1.50}')))
    message = render(batch, shape(client_code="100"), lambda _: 3)
    hmac_hex = hmac.new(b"key", message.id.encode(), hashlib.sha256).hexdigest()
    assert message.body.decode() == (
        f'{{"id":"{message.id}","hmac":"{hmac_hex}","clientCode":"100","table":"orders","action":"update","eventCount":2,'
        '"items":[{"eventId":"3-4711","rowId":17,"timestamp":"2026-11-21T10:00:00.123456Z","data":{"id":4711}},'
        '{"eventId":"3-4712","rowId":18,"timestamp":"2026-11-21T10:00:00.123456Z","data":{"total": 1.50}}]}'
    )
    assert (message.table, message.action, message.event_count) == ("public.orders", UPDATE, 2)
    assert (message.first_event, message.last_event) == ("3-4711", "3-4712")


def test_the_client_code_is_only_there_if_configured() -> None:
    assert "clientCode" not in body_of(change(1))
    assert json.loads(body_of(change(1), client_code='ü "quoted"'))["clientCode"] == 'ü "quoted"'
    assert 'ü \\"quoted\\"' in body_of(change(1), client_code='ü "quoted"')


@pytest.mark.parametrize(
    ("one", "item"),
    [
        (change(1, key="a\u20ac"), '"rowId":"a\\u20ac","timestamp":"T","data":{"id":1}'),
        (change(1, key={"a": 1, "b": 2}), '"rowId":{"a": 1, "b": 2},"timestamp":"T","data":{"id":1}'),
        (change(1, key=None), '"rowId":0,"timestamp":"T","data":{"id":1}'),
        (change(1, key=2, old_key=1), '"rowId":2,"previousRowId":1,"timestamp":"T","data":{"id":1}'),
        (change(1, data=None, truncated=True), '"rowId":1,"timestamp":"T","data":null,"truncated":true'),
        (change(1, data=None), '"rowId":1,"timestamp":"T","data":null'),
        (change(1, TRUNCATE, None), '"rowId":0,"timestamp":"T","data":null'),
    ],
    ids=["text key", "composite key", "no key", "new key", "too large", "no data", "truncate"],
)
def test_items(one, item: str) -> None:
    assert items_of(one) == f'[{{"eventId":"1-1",{item}}}]'.replace('"T"', f'"{AT.decode()}"')


def test_each_event_has_the_epoch_of_its_own_id() -> None:
    changes = (change(8), change(9), change(10), change(11))
    message = render(Batch("public.orders", UPDATE, changes), shape(), lambda number: 1 if number < 10 else 2)
    assert [item["eventId"] for item in json.loads(message.body)["items"]] == ["1-8", "1-9", "2-10", "2-11"]
    assert (message.first_event, message.last_event) == ("1-8", "2-11")


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        ("public.orders", "orders"),
        ('public."Order Items"', "Order Items"),
        ('public."a""b"', 'a"b'),
        ("sales.orders", "sales.orders"),
        ('sales."Order Items"', 'sales."Order Items"'),
        ('"Public".orders', '"Public".orders'),
        ('public."sales.orders"', 'public."sales.orders"'),
        ("public.größe", "größe"),
    ],
)
def test_names_of_tables(table: str, shown: str) -> None:
    assert display_name(table) == shown
    assert json.loads(body_of(change(1, table=table)))["table"] == shown


def test_the_same_batch_has_the_same_id_and_bytes() -> None:
    assert body_of(change(1)) == body_of(change(1))


ONE = Batch("public.orders", UPDATE, (change(1),))


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        (ONE, {"installation": "another"}),
        (ONE, {"webhook": "another"}),
        (ONE, {"client_code": "100"}),
        (ONE, {"client_code": ""}),
        (Batch("public.orders", INSERT, ONE.changes), {}),
        (Batch("public.customers", UPDATE, ONE.changes), {}),
        (Batch("public.orders", UPDATE, (change(2),)), {}),
        (Batch("public.orders", UPDATE, (change(1, data=b'{"id":2}'),)), {}),
        (Batch("public.orders", UPDATE, (change(1), change(2))), {}),
    ],
)
def test_whatever_differs_gives_another_id(batch: Batch, options: dict[str, str]) -> None:
    assert render(batch, shape(**options), lambda _: 1).id != render(ONE, shape(), lambda _: 1).id


def test_another_epoch_is_another_id() -> None:
    assert render(ONE, shape(), lambda _: 2).id != render(ONE, shape(), lambda _: 1).id


def test_ids_are_safe_anywhere() -> None:
    message_id = render(ONE, shape(), lambda _: 1).id
    assert message_id == "msg_" + "".join(c for c in message_id[4:] if c in "0123456789abcdef")
    assert len(message_id) == 36


def test_a_rotated_key_changes_the_hmac_alone() -> None:
    old, new = (render(ONE, shape(hmac_key=key), lambda _: 1) for key in (b"old", b"new"))
    assert old.id == new.id
    assert old.body != new.body
    assert shape(hmac_key=b"old").fingerprint() == shape(hmac_key=b"new").fingerprint()


@pytest.mark.parametrize(
    "change_of",
    [
        {"webhook": "another"},
        {"installation": "another"},
        {"subscriptions": {"public.orders": Subscription(ALL, None, passthrough=True)}},
        {"subscriptions": {}},
        {"ordering": "strict"},
        {"concurrency": 5},
        {"max_events": 99},
        {"max_bytes": 99},
        {"client_code": "1"},
    ],
)
def test_the_fingerprint_tells_shapes_apart(change_of: dict[str, object]) -> None:
    assert replace(shape(), **change_of).fingerprint() != shape().fingerprint()


def test_the_fingerprint_tells_fields_and_actions_apart_but_not_their_order_in_the_file() -> None:
    def fingerprint(*actions: Action, fields: tuple[str, ...] | None = None) -> str:
        return shape(subscriptions={"t": Subscription(frozenset(actions), fields, passthrough=False)}).fingerprint()

    assert fingerprint(INSERT, UPDATE) == fingerprint(UPDATE, INSERT) != fingerprint(INSERT)
    assert (
        len({fingerprint(), fingerprint(fields=()), fingerprint(fields=("a", "b")), fingerprint(fields=("b", "a"))})
        == 4
    )


def test_the_key_is_in_no_repr() -> None:
    assert "geheim" not in repr(shape(hmac_key=b"geheim"))


def test_route_keeps_what_the_webhook_wants() -> None:
    how = shape(
        subscriptions={
            "public.orders": Subscription(frozenset({INSERT, UPDATE}), None, passthrough=True),
            "public.customers": Subscription(frozenset({DELETE}), None, passthrough=True),
        }
    )
    page = [
        change(1, INSERT),
        change(2, DELETE),
        change(3, DELETE, table="public.customers"),
        change(4, UPDATE, table="public.customers"),
        change(5, UPDATE, table="public.others"),
        change(6, UPDATE),
    ]
    assert route(page, {(one.table, one.action) for one in page}, how) == [page[0], page[2], page[5]]


def test_route_reduces_each_table_to_its_fields() -> None:
    row = b'{"id":1,"name":"x","total":0.10}'
    how = shape(
        subscriptions={
            "public.orders": Subscription(ALL, ("total", "id"), passthrough=False),
            "public.customers": Subscription(ALL, ("id",), passthrough=True),
            "public.log": Subscription(ALL, (), passthrough=False),
        }
    )
    page = [change(n, table=table, data=row) for n, table in enumerate(how.subscriptions)]
    routed = route(page, {(one.table, one.action) for one in page}, how)
    assert [one.data for one in routed] == [
        b'{"total":0.10,"id":1}',
        row,
        None,
    ]


def test_route_leaves_the_rest_of_a_change_alone() -> None:
    how = shape(subscriptions={"public.orders": Subscription(ALL, ("id",), passthrough=False)})
    page = [change(1, key=2, old_key=1), change(2, TRUNCATE, None), change(3, data=None, truncated=True)]
    assert route(page, {(one.table, one.action) for one in page}, how) == page
