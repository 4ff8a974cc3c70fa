"""Durations, sizes, names and variables as they are written in the configuration."""

import pytest

from cdc_hooks.config.environment import interpolate
from cdc_hooks.config.names import canonical_table, parse_table
from cdc_hooks.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("250ms", 0.25),
        ("5s", 5),
        ("1m", 60),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1.5s", 1.5),
        (" 1d1ms ", 86400.001),
    ],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("5", "'5' has no unit; did you mean 5s?"),
        ("", "'' is not a duration"),
        ("5 s", "'5 s' is not a duration; write it as 250ms"),
        ("-5s", "'-5s' is not a duration"),
        ("5sec", "'5sec' is not a duration"),
        ("30m1h", "the largest first"),
        ("1h1h", "each unit once"),
    ],
)
def test_what_is_no_duration(text, what):
    with pytest.raises(ValueError) as error:
        parse_duration(text)
    assert what in str(error.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512B", 512),
        ("256KiB", 262_144),
        ("10MB", 10_000_000),
        ("1GiB", 2**30),
        ("1.5 kB", 1500),
        ("2TiB", 2**41),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("256", "'256' has no unit; did you mean 256B?"),
        ("256k", "did you mean 256KiB?"),
        ("1 gb", "did you mean 1GiB?"),
        ("-1B", "'-1B' is not a size; write it as 512B"),
        ("much", "is not a size"),
    ],
)
def test_what_is_no_size(text, what):
    with pytest.raises(ValueError) as error:
        parse_size(text)
    assert what in str(error.value)


@pytest.mark.parametrize("seconds", [0, 0.25, 5, 60, 5400, 43200, 86400.5, 90061.001])
def test_a_formatted_duration_reads_the_same(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("size", [0, 1, 512, 1500, 262_144, 10_000_000, 2**20, 2**30 + 1])
def test_a_formatted_size_reads_the_same(size):
    assert parse_size(format_size(size)) == size


def test_the_shortest_form_is_chosen():
    assert [format_duration(5400), format_size(262_144), format_size(10_000_000)] == ["1h30m", "256KiB", "10MB"]


@pytest.mark.parametrize(
    ("text", "parts", "canonical"),
    [
        ("public.orders", ("public", "orders"), "public.orders"),
        ("Public.ORDERS", ("public", "orders"), "public.orders"),
        ('public."orders"', ("public", "orders"), "public.orders"),
        ('public."Order Items"', ("public", "Order Items"), 'public."Order Items"'),
        ('"a.b"."say ""hi"""', ("a.b", 'say "hi"'), '"a.b"."say ""hi"""'),
        ("shop.bücher", ("shop", "bücher"), 'shop."bücher"'),
        ("s.t$1", ("s", "t$1"), 's."t$1"'),
    ],
)
def test_table_names(text, parts, canonical):
    assert parse_table(text) == parts
    assert canonical_table(text) == canonical
    assert canonical_table(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("orders", "'orders' has no schema; did you mean public.orders?"),
        ("db.public.orders", "has 3 parts"),
        ("public.Order Items", 'public."Order Items"'),
        ("public.", "is not a table name"),
        ("", "is not a table name"),
        ('public."orders', "is not a table name"),
        ("public.1orders", "is not a table name"),
        (f"public.{'x' * 64}", "64 bytes long"),
    ],
)
def test_what_is_no_table_name(text, what):
    with pytest.raises(ValueError) as error:
        parse_table(text)
    assert what in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${A}", "one"),
        ("<${A}-${A}>", "<one-one>"),
        ("${NONE:-x y}", "x y"),
        ("${NONE:-}", ""),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("$${A}", "${A}"),
        ("pa$$word$", "pa$$word$"),
        ("${DOLLARS}", "${A}"),
    ],
)
def test_variables(text, value):
    assert interpolate(text, {"A": "one", "EMPTY": "", "DOLLARS": "${A}"}) == value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("${NONE}", "environment variable NONE is not set"),
        ("${A", "begins a variable"),
        ("${}", "begins a variable"),
        ("${1A}", "begins a variable"),
        ("${A-x}", "begins a variable"),
    ],
)
def test_what_is_no_variable(text, what):
    with pytest.raises(ValueError) as error:
        interpolate(text, {"A": "one"})
    assert what in str(error.value)
