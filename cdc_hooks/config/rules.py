"""What must hold between the sections of the configuration. Pure functions of validated sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from cdc_hooks.config.notify import Notify
    from cdc_hooks.config.problems import Place
    from cdc_hooks.config.webhook import Webhook


_PLAIN_HTTP = "http:// sends data and tokens in the clear; use https://, or say network: {allow_http: true}"
_NO_COLUMN = (
    "no webhook wants a column of this table, so there is none to capture; name one in one of them, such as the key"
)
_PLAIN_LOGIN = "the password would travel in the clear; use starttls or tls, or say network: {allow_http: true}"


def contradictions(
    webhooks: Mapping[str, Webhook],
    excluded: Mapping[str, Collection[str]],
    notify: Notify | None,
    *,
    allow_http: bool,
) -> Iterator[tuple[Place, str]]:
    """The place and the words of each thing that cannot be done as configured. ``excluded``: columns, by table."""
    if notify is not None and not allow_http:
        yield from _notices_in_the_clear(notify)
    for name, webhook in webhooks.items():
        if webhook.url.startswith("http:") and not allow_http:
            yield ("webhooks", name, "url"), _PLAIN_HTTP
        for table, wish in webhook.tables.items():
            for column in wish.fields or ():
                if column in excluded.get(table, ()):
                    yield (
                        ("webhooks", name, "tables", table, "fields"),
                        f"column {column} is excluded at tables.{table}.exclude",
                    )
    with_columns = {
        table for webhook in webhooks.values() for table, wish in webhook.tables.items() if wish.fields != ()
    }
    for name, webhook in webhooks.items():
        for table in webhook.tables:
            if table not in with_columns:
                yield ("webhooks", name, "tables", table, "fields"), _NO_COLUMN


def _notices_in_the_clear(notify: Notify) -> Iterator[tuple[Place, str]]:
    if notify.webhook is not None and notify.webhook.url.startswith("http:"):
        yield ("notify", "webhook", "url"), _PLAIN_HTTP
    if notify.email is not None and notify.email.user is not None and notify.email.tls == "none":
        yield ("notify", "email", "tls"), _PLAIN_LOGIN


def unused_tables(webhooks: Mapping[str, Webhook], tables: Iterable[str]) -> Iterator[tuple[Place, str]]:
    """Tables of the DBA's say that no webhook wants: nothing is wrong, but perhaps somebody mistyped a name."""
    wanted = {table for webhook in webhooks.values() for table in webhook.tables}
    for table in tables:
        if table not in wanted:
            yield ("tables", table), "no webhook wants this table: it is not captured"
