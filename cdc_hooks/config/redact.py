"""The configuration to show to people: in effect, with defaults, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cdc_hooks.config.dsn import show_dsn

if TYPE_CHECKING:
    from cdc_hooks.config.models import Config

MASK = "**********"


def redacted(config: Config) -> dict[str, Any]:
    """Plain data as in the file. Masked: secrets, headers' values, and what a URL has after its '?'."""
    shown: dict[str, Any] = config.model_dump(mode="json", exclude_none=True, by_alias=True)
    shown["database"] |= {
        key: show_dsn(dsn.get_secret_value())
        for key in ("dsn", "admin_dsn")
        if (dsn := getattr(config.database, key)) is not None
    }
    notified = shown["notify"].get("webhook")
    for webhook in [*shown["webhooks"].values(), *([notified] if notified else [])]:
        webhook["headers"] = dict.fromkeys(webhook["headers"], MASK)
        webhook["url"] = show_url(webhook["url"])
    return shown


def show_url(url: str) -> str:
    """The URL, or a reference to one, without what may be a secret: user, password, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:  # not to be taken apart: any of it may be one
        return MASK
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(
        netloc=f"{MASK}@{host}" if at and user else parts.netloc,
        query=MASK if parts.query else "",
        fragment=MASK if parts.fragment else "",
    ).geturl()
