"""The types of single values in the configuration: what is accepted, and what they become."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from contextlib import suppress
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from cdc_hooks.addresses import literal
from cdc_hooks.config.names import canonical_table, check_length
from cdc_hooks.config.problems import show_key
from cdc_hooks.config.units import format_duration, format_size, parse_duration, parse_size

T = TypeVar("T")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
NO_PROXY = "none"
"""In the place of a proxy: requests go straight."""
_WEBHOOK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_OWN_HEADERS = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding", "user-agent"}
)


def _seconds(given: object) -> object:
    return parse_duration(given) if isinstance(given, str) else given


def _bytes(given: object) -> object:
    return parse_size(given) if isinstance(given, str) else given


def as_list(given: object) -> object:
    """One value is a list of one."""
    return [given] if isinstance(given, str) else given


def _webhook_name(name: str) -> str:
    if not _WEBHOOK_NAME.fullmatch(name):
        raise ValueError(
            "a webhook's name has 1 to 63 small letters, digits, '-' and '_', and begins with a letter or digit"
        )
    return name


def _column(name: str) -> str:
    if not name:
        raise ValueError("a column's name is empty")
    check_length(name)
    return name


def distinct(names: tuple[T, ...]) -> tuple[T, ...]:
    """ValueError where one is named twice."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]} is named twice")
    return names


def not_empty(names: tuple[T, ...]) -> tuple[T, ...]:
    """ValueError where none is named."""
    if not names:
        raise ValueError("the list is empty; name at least one, or leave the key out")
    return names


def nothing_or_off(given: object) -> object:
    """``off``, like nothing at all, is None."""
    return None if given in ("off", "none", False) else given


def no_longer_than(given: object, key: str, usual_s: float, whole: str) -> object:
    """A section in which ``key`` is as short as ``whole``, where only that is given and is shorter than is usual."""
    if isinstance(given, dict) and key not in given:
        with suppress(ValueError):  # told of ``whole`` itself
            most = _seconds(given.get(whole))
            if isinstance(most, (int, float)) and 0 < most < usual_s:
                return {**given, key: given[whole]}
    return given


def tables_by_name(given: object) -> object:
    """A list of names is a mapping to nothing. ValueError where one table has two entries, spelt differently."""
    entries = as_list(given)
    if isinstance(entries, list) and all(isinstance(name, str) for name in entries):
        given = dict.fromkeys(distinct(tuple(entries)))
    if not isinstance(given, dict):
        return {} if given is None else given
    spelt: dict[str, str] = {}
    for name in given:
        try:
            other = spelt.setdefault(canonical_table(name), name)
        except ValueError:
            continue  # the key's own type reports it
        if other != name:
            raise ValueError(f"{other} and {name} are the same table")
    return given


def _url(url: str) -> str:
    """An absolute http or https URL, its scheme in small letters.

    The messages leave the URL out: its path or query may be a secret.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL has only printable ASCII characters and no spaces; percent-encode the others")
    if "://" not in url:
        raise ValueError("the URL has no scheme; did you forget https:// at its beginning?")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the URL's host or port is malformed") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"the scheme is {parts.scheme}; https is wanted")
    if not host or port == 0:
        raise ValueError("the URL has no host, or no usable port")
    if "@" in parts.netloc:
        raise ValueError("the URL has a user or a password in it; give them as auth: {basic: {user: …, password: …}}")
    if parts.fragment:
        raise ValueError("the URL has a fragment (#…), which is never sent; leave it out")
    literal(host)  # which may refuse
    return parts.scheme + url[len(parts.scheme) :]  # whether it is http:// is asked of its first letters


def _proxy(url: str) -> str:
    """``http://host:port``. The messages leave the URL out: there may be a password in it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the proxy's host or port is malformed") from None
    if "@" in parts.netloc:
        raise ValueError(
            "the proxy's URL has a user or a password in it; give them as proxy_auth: {user: …, password: …}"
        )
    if parts.scheme != "http":
        raise ValueError(
            "a proxy is written http://host:port; https:// receivers are reached through it, too, encrypted"
        )
    if not host or not port or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("a proxy is written http://host:port, with its port and without a path")
    if literal(host) is None and not _HOST.fullmatch(host):
        raise ValueError("the proxy's host is not a host name")
    return f"http://{parts.netloc}"


def _own_proxy(url: str) -> str:
    return url if url == NO_PROXY else _proxy(url)


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{show_key(name)!r} is not a header's name: letters, digits and '-'")
    if name.lower() in _OWN_HEADERS or name.lower().startswith(("webhook-", "cdc-hooks-")):
        raise ValueError(f"{name} is set by cdc-hooks itself and cannot be changed")
    return name


def header_names_once(headers: dict[str, T]) -> dict[str, T]:
    """ValueError where a header is given twice, spelt differently."""
    distinct(tuple(name.lower() for name in headers))
    return headers


def header_value(value: str) -> str:
    """The value without the spaces around it. ValueError, without the value, where a header cannot carry it."""
    if not value.isascii() or not value.replace("\t", " ").isprintable():
        raise ValueError("a header's value has only printable ASCII characters, and no line breaks")
    return value.strip()


def _network(text: str) -> str:
    """A CIDR, an address or a host name, in its usual spelling."""
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, which says nothing of where requests may go; leave out %…")
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        # What ends in a number, or has a slash or a colon, was meant as an address.
        if not _HOST.fullmatch(text) or text.rstrip(".").rpartition(".")[2].isdigit() or len(text) > 253:
            raise ValueError(f"{text!r} is neither a network (10.0.0.0/8, fd00::/8) nor a host name") from None
        return text.lower().rstrip(".")
    if ipaddress.ip_address(text.partition("/")[0]) != meant.network_address:
        raise ValueError(f"{text!r} has bits set beyond its prefix; did you mean {meant}?")
    return str(meant)


def _listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(
            f'{text!r} is not an address to listen on; write "127.0.0.1:9464", "[::1]:9464" or ":9464" for all'
        )
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError(f'{text!r}: put an IPv6 address in brackets, as in "[::1]:9464"')
    return text


class Kind(NamedTuple):
    """What a value is, in words, for the reference."""

    words: str


Seconds = Annotated[
    float, Kind("duration"), BeforeValidator(_seconds), PlainSerializer(format_duration, return_type=str)
]
Bytes = Annotated[int, Kind("size"), BeforeValidator(_bytes), PlainSerializer(format_size, return_type=str)]
WebhookName = Annotated[str, Kind("name"), AfterValidator(_webhook_name)]
TableName = Annotated[str, Kind("table"), AfterValidator(canonical_table)]
ColumnName = Annotated[str, Kind("column"), AfterValidator(_column)]
AnyColumns = Annotated[tuple[ColumnName, ...], BeforeValidator(as_list), AfterValidator(distinct)]
SomeColumns = Annotated[AnyColumns, AfterValidator(not_empty)]
OwnProxyUrl = Annotated[str, Kind("URL, or `none`"), AfterValidator(_own_proxy)]
ProxyUrl = Annotated[str, Kind("URL"), AfterValidator(_proxy)]
Url = Annotated[str, Kind("URL"), AfterValidator(_url)]
HeaderName = Annotated[str, Kind("header name"), AfterValidator(_header_name)]
HeaderValue = Annotated[str, Kind("text"), AfterValidator(header_value)]
Network = Annotated[str, Kind("CIDR or host name"), AfterValidator(_network)]
Listen = Annotated[str, Kind("address:port"), AfterValidator(_listen)]
