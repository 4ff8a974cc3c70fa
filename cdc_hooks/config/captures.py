"""What the configuration wants captured: the union, table by table, of what its webhooks want."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdc_hooks.config.models import Config, TableRules

if TYPE_CHECKING:
    from cdc_hooks.config.webhook import TableWish
    from cdc_hooks.model import Action


@dataclass(frozen=True)
class TableCapture:
    """One table that at least one webhook wants."""

    table: str
    actions: frozenset[Action]
    columns: tuple[str, ...] | None
    """Every column that some webhook wants, by name; None for all (but ``rules.exclude``)."""
    rules: TableRules
    named: tuple[str, ...] = ()
    """Every column that some webhook names."""


def captures(config: Config) -> list[TableCapture]:
    """The tables in the order of their names: the same captures, however the file is ordered."""
    wishes: dict[str, list[TableWish]] = {}
    for webhook in config.webhooks.values():
        for table, wish in webhook.tables.items():
            wishes.setdefault(table, []).append(wish)
    return [
        TableCapture(
            table,
            frozenset(action for wish in wanted for action in wish.actions),
            _union([wish.fields for wish in wanted]),
            config.tables.get(table, TableRules()),
            tuple(sorted({column for wish in wanted for column in wish.fields or ()})),
        )
        for table, wanted in sorted(wishes.items())
    ]


def _union(fields: list[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    if any(one is None for one in fields):
        return None
    return tuple(sorted({column for one in fields for column in one or ()}))
