"""Fields of a row keep the text that PostgreSQL gave them, whatever it is."""

from __future__ import annotations

import json
import random

import pytest

from cdc_hooks.shape.fields import Selector

NASTY = [
    "0.10",
    "1e200000",
    "-0",
    "9" * 5000,
    "null",
    "true",
    '""',
    '"\\u0000"',
    '"\\ud800 alone"',
    '"a \\"quoted\\" \\\\"',
    '"\\\\"',
    '"},{[,:"',
    '"€ ü \U0001f600"',
    "[]",
    "{}",
    '{"a":1, "id": 7, "b":[1,{"c":"}"}]}',
    '[[["]"]],{"x":"\\"]"}]',
    '  {"spaced" :  [ 1 ,\n2 ] }  ',
    "[" * 5000 + "]" * 5000,
    '{"a":' * 3000 + "1" + "}" * 3000,
    '[[[[[[1,"[",{"a":[]}]]]]]]',
]
NAMES = ["id", "n", "Order No", 'qu"ote', "back\\slash", "tab\there", "größe", "100%b", "a.b*c(", ""]


def row_of(members: list[tuple[str, str]]) -> bytes:
    """As row_to_json writes it."""
    return ("{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{text}" for name, text in members) + "}").encode()


def expected(members: list[tuple[str, str]], fields: tuple[str, ...]) -> bytes:
    texts = dict(members)
    return row_of([(name, texts[name].strip()) for name in fields if name in texts])


@pytest.mark.parametrize("text", NASTY, ids=lambda text: text[:20])
def test_the_text_of_a_value_is_kept(text: str) -> None:
    members = [("before", text), ("id", "1"), ("wanted", text), ("after", text)]
    for fields in [("wanted",), ("wanted", "id"), ("after", "before"), ("id",)]:
        select = Selector(fields)
        # The second and third time by the layout that the first one taught.
        assert [select(row_of(members)) for _ in range(3)] == [expected(members, fields)] * 3


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_selected(name: str) -> None:
    members = [("x", "1"), (name, '"%d"'), ("y", "2")]
    select = Selector((name, "y"))
    assert [select(row_of(members)) for _ in range(2)] == [expected(members, (name, "y"))] * 2


def test_fields_that_a_row_lacks_are_left_out() -> None:
    select = Selector(("b", "gone", "a"))
    assert select(b'{"a":1,"b":2}') == b'{"b":2,"a":1}'
    assert select(b'{"a":3,"b":4}') == b'{"b":4,"a":3}'
    # Added to the table later: the layout known so far must not hide it.
    assert select(b'{"a":1,"b":2,"gone":3}') == b'{"b":2,"gone":3,"a":1}'
    assert select(b'{"x":1}') == b"{}"
    assert select(b"{}") == b"{}"


def test_a_field_inside_a_value_is_not_a_field_of_the_row() -> None:
    assert Selector(("id",))(b'{"j":{"id":1},"t":"\\"id\\":2","id":3}') == b'{"id":3}'


def test_a_field_named_twice_is_sent_once() -> None:
    assert Selector(("a", "a"))(b'{"a":1,"b":2}') == b'{"a":1}'


def test_a_row_that_never_ends_is_an_error() -> None:
    with pytest.raises(ValueError, match="never closed"):
        Selector(("b",))(b'{"a":[1,2')


@pytest.mark.parametrize("seed", range(200))
def test_random_rows_of_changing_layouts(seed: int) -> None:
    pick = random.Random(seed)
    fields = tuple(pick.sample(NAMES, pick.randint(1, 5)))
    select = Selector(fields)
    layouts = [pick.sample(NAMES, pick.randint(0, len(NAMES))) for _ in range(3)]
    for _ in range(12):
        members = [(name, pick.choice(NASTY)) for name in pick.choice(layouts)]
        assert select(row_of(members)) == expected(members, fields)
