"""The configuration to show to people: in effect, with defaults, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from psycopg import conninfo

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


def show_dsn(dsn: str) -> str:
    """Which database and as whom, without passwords: ``host=db port=5432 dbname=shop user=cdc_hooks``."""
    parts = conninfo.conninfo_to_dict(dsn)
    return conninfo.make_conninfo(**{key: str(value) for key, value in parts.items() if key in _HARMLESS})


_HARMLESS = {"host", "hostaddr", "port", "dbname", "user", "service", "sslmode", "application_name"}


def show_url(url: str) -> str:
    """The URL without the values that may be a secret."""
    parts = urlsplit(url)
    return parts._replace(query=MASK).geturl() if parts.query else url
