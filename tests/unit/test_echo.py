"""What a receiver repeats of a request's secrets is masked, in whatever form it writes them."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from cdc_hooks.config.redact import MASK
from cdc_hooks.deliver.echo import Echo

TOKEN = "aB3/cD5+eF7=gH9&iJ1'kL2<mN4"
BASIC = "Basic " + base64.b64encode(b"shop:p4ss/w0rd+here").decode()


def masked(said: str, *, url: str = "https://a.example/hook", values: tuple[str, ...] = (), cut: bool = False) -> str:
    return Echo(url, values).masked(said.encode(), cut=cut).decode()


@pytest.mark.parametrize(
    "written",
    [
        TOKEN,
        TOKEN.lower(),
        TOKEN.upper(),
        quote(TOKEN),
        quote(TOKEN, safe="").lower(),
        quote_plus(TOKEN),
        json.dumps(TOKEN)[1:-1].replace("/", "\\/"),  # as PHP does
        "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in TOKEN),  # as .NET does
        json.dumps(json.dumps(TOKEN).replace("/", "\\/"))[3:-3],  # JSON in a text of JSON
        html.escape(TOKEN),
        "".join(c if c.isalnum() else f"&#{ord(c)};" for c in TOKEN),
        "".join(c if c.isalnum() else f"&#x{ord(c):02X};" for c in TOKEN),
    ],
)
def test_a_header_in_every_form(written):
    for value in (TOKEN, f"Bearer {TOKEN}"):
        assert masked(f"token {written}.", values=(value,)) == f"token {MASK}."


def test_a_header_with_spaces_in_a_url():
    assert masked("?auth=Bearer+abcdefgh", values=("Bearer abcdefgh",)) == f"?auth={MASK}"


def test_a_long_one():
    for token in (500 * "a/", 3000 * "a.b/"):
        assert masked(f"no: {token.upper()}", values=(f"Bearer {token}",)) == f"no: {MASK}"


def test_each_value_of_a_query_as_it_is_sent_and_as_it_is_meant():
    url = "https://a.example/hook?shop=north-star&token=s3cret%2Fvalue&plain-token&n=1"
    for said in (
        "shop=north-star&token=s3cret%2Fvalue&plain-token&n=1",
        "s3cret%2Fvalue",
        "s3cret/value",
        "north-star",
    ):
        assert masked(f"<{said}>", url=url) == f"<{MASK}>"
    assert masked("plain-token", url=url) == MASK
    # Apache's page of a redirect.
    page = masked(
        '<a href="https://a.example/hook/?shop=north-star&amp;token=s3cret%2Fvalue&amp;plain-token&amp;n=1">', url=url
    )
    assert page == f'<a href="https://a.example/hook/?{MASK}">'


@pytest.mark.parametrize("said", [BASIC, BASIC[6:], "shop:p4ss/w0rd+here", "p4ss/w0rd+here", "p4ss\\/w0rd+here"])
def test_basic_authentication_as_it_is_sent_and_as_it_is_meant(said):
    assert masked(f"no: {said}", values=(BASIC,)) == f"no: {MASK}"


@pytest.mark.parametrize("size", range(4, len(TOKEN)))
def test_a_secret_that_is_cut_off(size):
    assert masked(f"no: {TOKEN[:size]}", values=(TOKEN,), cut=True) == f"no: {MASK}"
    assert masked(f"no: {TOKEN[:size]}", values=(TOKEN,)) == f"no: {TOKEN[:size]}"


def test_what_is_no_secret_stays():
    url = "https://a.example/hook?v=1&shop=north"
    values = ("abc", "Basic not*base64", "Basic " + base64.b64encode(b"\xff\xfe").decode())
    assert masked("v=1 shop north abc Basic hook", url=url, values=values) == "v=1 shop north abc Basic hook"
    assert masked("anything") == "anything"
    assert masked("", values=(TOKEN,)) == ""


@pytest.mark.parametrize("repeated", ["\\", "&#0", "%", "/", "/\\", "u00"])
def test_no_answer_makes_the_search_long(repeated):
    """One that goes back again and again takes longer than any test may."""
    said = (repeated * 16_384)[:16_384] + " x"
    assert masked(said, values=("////////x", r"\\\\\\\\\\\\\\\\x")) == said
