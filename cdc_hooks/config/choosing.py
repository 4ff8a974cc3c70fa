"""Names that people give on the command line, looked up in the configuration, and the nearest where one is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc_hooks.config.names import canonical_table
from cdc_hooks.config.problems import did_you_mean
from cdc_hooks.errors import ConfigError

if TYPE_CHECKING:
    from cdc_hooks.config.models import Config
    from cdc_hooks.config.webhook import Webhook


def webhook_of(config: Config, name: str) -> Webhook:
    """The webhook of this name."""
    if name not in config.webhooks:
        raise ConfigError(
            f"there is no webhook {name} in the configuration{did_you_mean(name, config.webhooks)}",
            hint=f"it has: {', '.join(config.webhooks) or 'none'}",
        )
    return config.webhooks[name]


def table_of(config: Config, webhook: str, given: str) -> str:
    """The table of a webhook that was given with ``--table``, by its canonical name."""
    tables = webhook_of(config, webhook).tables
    try:
        table = canonical_table(given)
    except ValueError as error:
        raise ConfigError(f"--table: {error}") from None
    if table not in tables:
        raise ConfigError(
            f"webhook {webhook} gets no changes of table {table}{did_you_mean(table, tables)}",
            hint=f"its tables are: {', '.join(tables)}",
        )
    return table
