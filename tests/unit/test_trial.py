"""What a test send is made of: layout, keys and data as they are given, the message, the verdict."""

import base64
import json

import pytest

from cdc_hooks.capture import Wanted
from cdc_hooks.config import load
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import Policy
from cdc_hooks.deliver.sign import fingerprint
from cdc_hooks.errors import ConfigError
from cdc_hooks.model import Action
from cdc_hooks.trial.given import NO_ROW, Row, parse_data, parse_key
from cdc_hooks.trial.layout import compact, indented
from cdc_hooks.trial.sending import choose, prepare
from cdc_hooks.trial.verdict import advice, judge

CONFIG = """\
database: {dsn: "dbname=shop"}
webhooks:
  order-sync:
    url: https://a.example
    secret: 0123456789abcdef
    client_code: "100"
    batch: {max_events: 50, max_bytes: 2KiB}
    tables:
      public.orders: {actions: [update, insert], fields: [status, id]}
      'public."Order Items"': {}
"""
NOW = 1_795_296_447.5
ORDERS = Wanted("public.orders", frozenset({Action.INSERT}), key=("id",), exclude=("card",))


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return load(path)


@pytest.mark.parametrize(
    "text", ['{"a": 0.10, "b" :1e200000,"c":[ ],"d":{"e \\" }":[1,{"f": "x, [y]"},{} ]}}', "[]", '"x"', "{}", "12"]
)
def test_layout_keeps_what_is_said(text):
    assert json.loads(indented(text), parse_float=str) == json.loads(text, parse_float=str)
    assert compact(indented(text)) == compact(text)


def test_what_layout_looks_like():
    assert compact(' {"a b": [ 1.50 , {} ], "c": "d  e"}\n') == '{"a b":[1.50,{}],"c":"d  e"}'
    assert indented('{"a":[1.50,{"b":[]}],"c":{}}') == (
        '{\n  "a": [\n    1.50,\n    {\n      "b": []\n    }\n  ],\n  "c": {}\n}'
    )


@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("17", ["id"], ["17"]),
        ("1.50", ["id"], ["1.50"]),
        ("c-1", ["id"], ["c-1"]),
        ('"c-1"', ["id"], ["c-1"]),
        ('"', ["id"], ['"']),
        ("a=b,c", ["id"], ["a=b,c"]),
        ('{"a": 1}', ["id"], ['{"a": 1}']),
        ("a=1,b=x=y", ["a", "b"], ["1", "x=y"]),
        ("b=x,a=", ["a", "b"], ["", "x"]),
        ('{"b": "x,y", "a": 1.50}', ["a", "b"], ["1.50", "x,y"]),
        ('{"b": true, "a": 12345678901234567890}', ["a", "b"], ["12345678901234567890", "true"]),
    ],
)
def test_keys(text, names, values):
    assert list(parse_key(text, names).items()) == list(zip(names, values, strict=True))


@pytest.mark.parametrize(
    "text", ["1", "a=1", "a=1,c=2", "a=1,b=2,c=3", '{"a": 1}', '{"a": 1, "b": null}', "{a", "a=1,b"]
)
def test_wrong_keys(text):
    with pytest.raises(ConfigError, match="is not a key of several columns: a, b") as refused:
        parse_key(text, ["a", "b"])
    assert """write '{"a": "…", "b": "…"}' or 'a=…,b=…'""" in refused.value.hint


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ('{"id": 17.50, "a": 0.10}', "17.50"),
        ('{"a": 1, "id": {"x": [1]}}', '{"x":[1]}'),
        ('\ufeff{"id": null}', None),
    ],
)
def test_data_keeps_its_digits_and_gives_the_key(data, key):
    row = parse_data(data.encode(), "f", ORDERS)
    assert row == Row(key and key.encode(), compact(data.lstrip("\ufeff")).encode())


def test_data_and_keys_of_several_columns_or_none():
    several = Wanted("public.t", frozenset(), key=("b", "a"))
    assert parse_data(b'{"a": 1, "x": 2, "b": "k"}', "f", several).key == b'{"b":"k","a":1}'
    row = parse_data(b'{"id": 1}', "f", Wanted("public.t", frozenset()))
    assert row.key is None
    assert "name its columns in tables.public.t.key" in row.note


def test_data_above_the_limit_goes_by_its_key():
    small = Wanted("public.t", frozenset(), key=("id",), max_row_bytes=20)
    assert parse_data(b'{"id": 1, "a": "12345678"}', "f", small) == Row(b"1", None, truncated=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"id": 1,\n "a": }', "f:2: not JSON: Expecting value, column 7"),
        (b"", "f:1: not JSON"),
        (b'{"id": 1,\n "a": "\xff"}', "f:2: not UTF-8"),
        (b"[1]", "f: not an object, but [1]"),
        (b'{"id": NaN}', "NaN is no number in JSON"),
        (b'{"a":' + b"[" * 100_000, "f: nested too deeply"),
        (b'{"id": 1, "card": "1234"}', "f: column card is excluded at tables.public.orders.exclude"),
        (b'{"a": 1}', "f: there is no id, which belongs to the key"),
    ],
)
def test_data_that_is_none(content, said):
    with pytest.raises(ConfigError) as refused:
        parse_data(content, "f", ORDERS)
    assert said in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ((None, None), ("public.orders", "update")),
        (("public.orders", Action.INSERT), ("public.orders", "insert")),
        (('PUBLIC."Order Items"', None), ('public."Order Items"', "insert")),
    ],
)
def test_what_is_tried(config, asked, chosen):
    assert choose(config, "order-sync", *asked) == chosen


@pytest.mark.parametrize(
    ("webhook", "table", "action", "said"),
    [
        ("order_sync", None, None, "no webhook order_sync in the configuration; did you mean order-sync?"),
        ("order-sync", "public.ordres", None, "gets no changes of table public.ordres; did you mean public.orders?"),
        ("order-sync", "orders", None, "--table: 'orders' has no schema; did you mean public.orders?"),
        ("order-sync", None, Action.DELETE, "webhook order-sync gets no delete of table public.orders"),
    ],
)
def test_what_cannot_be_tried(config, webhook, table, action, said):
    with pytest.raises(ConfigError) as refused:
        choose(config, webhook, table, action)
    assert said in refused.value.message


PAID = Row(b"17", b'{"id":17,"status":"paid","total":1.50}')


def prepared(config, row=PAID, action=Action.UPDATE, now=NOW, count=1):
    return prepare(config, "order-sync", "public.orders", action, row, count=count, now=now)


def test_a_message_is_one_of_the_webhooks_own(config):
    trial = prepared(config)
    body = json.loads(trial.message.body)
    assert (body["clientCode"], body["table"], body["action"], body["eventCount"]) == ("100", "orders", "update", 1)
    [item] = body["items"]
    assert item == {
        "eventId": "0-1795296447500000",
        "rowId": 17,
        "timestamp": "2026-11-21T21:27:27.500000Z",
        "data": {"status": "paid", "id": 17},
    }
    assert list(item["data"]) == ["status", "id"]
    assert trial.events == ("0-1795296447500000",)
    assert body["id"] == trial.message.id


def test_no_two_tests_are_alike(config):
    first, second = prepared(config), prepared(config, now=NOW + 0.001)
    assert first.message.id != second.message.id
    assert first.events != second.events
    assert prepared(config).message == first.message


def test_as_many_events_as_fit_into_a_request(config):
    trial = prepared(config, count=3)
    assert [item["eventId"] for item in json.loads(trial.message.body)["items"]] == list(trial.events)
    assert len(set(trial.events)) == 3
    assert 1 < len(prepared(config, count=50).events) < 50  # max_bytes
    assert len(prepared(config, count=50).message.body) <= 2048


def test_rows_without_data(config):
    [item] = json.loads(prepared(config, Row(b"17", None, truncated=True)).message.body)["items"]
    assert (item["rowId"], item["data"], item["truncated"]) == (17, None, True)
    [item] = json.loads(prepared(config, NO_ROW).message.body)["items"]
    assert (item["rowId"], item["data"]) == (0, None)
    assert "truncated" not in item


@pytest.mark.parametrize(
    ("outcome", "events", "words"),
    [
        (Outcome(status=204), 1, "would count as delivered"),
        (Outcome(status=206), 1, "would be tried again after 5 s: answered 206"),
        (Outcome(status=503), 1, "would be tried again after 5 s: answered 503"),
        (Outcome(status=503, retry_after="90"), 1, "would be tried again after 90 s: answered 503"),
        (Outcome(error=Failure.TIMEOUT, detail="no answer within 2 s"), 1, "after 5 s: no answer within 2 s"),
        (Outcome(status=410), 1, "would pause the webhook: answered 410"),
        (Outcome(status=413), 2, "would be sent again in two halves: answered 413"),
        (Outcome(status=422), 1, "would be kept as a dead letter, and not be tried again: answered 422"),
    ],
)
def test_verdicts(outcome, events, words):
    policy = Policy((5.0, 60.0), success=frozenset({200, 204}))
    verdict = judge(policy, ["0-1", "0-2"][:events], outcome, NOW, partial_ack=False)
    assert verdict.words.endswith(words)
    assert verdict.delivered is (outcome.status == 204)


@pytest.mark.parametrize(
    ("on_exhausted", "words"), [("drop", "would be dropped"), ("dead_letter", "would be kept as a")]
)
def test_verdicts_without_a_second_attempt(on_exhausted, words):
    policy = Policy((), on_exhausted=on_exhausted)
    assert judge(policy, ["0-1"], Outcome(status=500), NOW, partial_ack=False).words.startswith(words)


@pytest.mark.parametrize(
    ("body", "delivered", "words"),
    [
        (b"", True, "would count as delivered"),
        (b'{"failed": ["0-2"]}', False, "1 of 2 events would be sent again: the answer names them as failed"),
        (b"oops", True, "would count as delivered, with a warning: the body is not JSON"),
    ],
)
def test_verdicts_on_partial_acknowledgements(body, delivered, words):
    outcome = Outcome(status=200, body=body)
    assert judge(Policy((5.0,)), ["0-1", "0-2"], outcome, NOW, partial_ack=True) == (delivered, words)
    assert judge(Policy((5.0,)), ["0-1", "0-2"], outcome, NOW, partial_ack=False).delivered


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(status=401), "fingerprint 0011aaff and 22bb"),
        (Outcome(status=404), "path of url"),
        (Outcome(status=413), "batch.max_bytes"),
        (Outcome(status=422), "the receiver's log"),
        (Outcome(status=500), "the receiver's log"),
        (Outcome(status=302, error=Failure.REDIRECT, location="/v2"), "as url: https://a.example/v2"),
        (Outcome(error=Failure.TLS), "ca_file"),
        (Outcome(error=Failure.TIMEOUT), "the limit is 20 s (timeout.total)"),
        (Outcome(error=Failure.CONNECT), "firewall"),
        (Outcome(error=Failure.FORBIDDEN), "network.allow"),
        (Outcome(error=Failure.PROXY), "look at the proxy"),
        (Outcome(error=Failure.PROTOCOL), "https:// instead of http://"),
    ],
)
def test_advice(outcome, said):
    assert said in advice(outcome, "https://a.example/hook", ["0011aaff", "22bb"], 20.0)


def test_there_is_not_always_advice():
    assert advice(Outcome(status=302), "https://a.example", [], 20.0) is None
    assert advice(Outcome(error=Failure.OTHER), "https://a.example", [], 20.0) is None


def test_fingerprints_tell_keys_apart_and_nothing_else():
    keys = [base64.b64encode(bytes([n]) * 24) for n in range(50)]
    assert len({fingerprint(key) for key in keys}) == len(keys)
    assert fingerprint(b"0123456789abcdef") == fingerprint(b"0123456789abcdef")
    assert len(fingerprint(keys[0])) == 8
