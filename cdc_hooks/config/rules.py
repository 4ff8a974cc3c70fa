"""What must hold between the sections of the configuration. Pure functions of validated sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cdc_hooks.config.models import NetworkRules, TableRules
    from cdc_hooks.config.problems import Place
    from cdc_hooks.config.webhook import Webhook


def contradictions(
    network: NetworkRules, webhooks: Mapping[str, Webhook], tables: Mapping[str, TableRules]
) -> Iterator[tuple[Place, str]]:
    """The place and the words of each thing that cannot be done as configured."""
    for name, webhook in webhooks.items():
        if webhook.url.startswith("http:") and not network.allow_http:
            yield (
                ("webhooks", name, "url"),
                "http:// sends data and tokens in the clear; use https://, or say network: {allow_http: true}",
            )
        for table, wish in webhook.tables.items():
            excluded = set(tables[table].exclude) if table in tables else set()
            for column in wish.fields or ():
                if column in excluded:
                    yield (
                        ("webhooks", name, "tables", table, "fields"),
                        f"column {column} is excluded at tables.{table}.exclude",
                    )


def unused_tables(webhooks: Mapping[str, Webhook], tables: Mapping[str, TableRules]) -> Iterator[tuple[Place, str]]:
    """Tables of the DBA's say that no webhook wants: nothing is wrong, but perhaps somebody mistyped a name."""
    wanted = {table for webhook in webhooks.values() for table in webhook.tables}
    for table in tables:
        if table not in wanted:
            yield ("tables", table), "no webhook wants this table: it is not captured"
