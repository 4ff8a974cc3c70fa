"""Deliveries that wait for an earlier one of their rows, where ``on_poison: hold_row`` has them wait. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdc_hooks.ops.deliveries import Found

Row = tuple[str, str, str]
"""Webhook, table, and the row's key as JSON."""


def rows_of(one: Found) -> set[Row]:
    return {(one.webhook, one.table_name, json.dumps(key)) for key in json.loads(one.row_ids)}


def followers(set_aside: Iterable[Found], gone: Iterable[Row]) -> list[Found]:
    """Those held for one of these rows, which wait for nothing else but each other.

    ``set_aside``: all that is, in order of number; ``gone``: rows of what has got through, or was deleted.
    """
    free, blocked = set(gone), set[Row]()
    follow = []
    for one in set_aside:
        rows = rows_of(one)
        if one.state == "held" and rows & free and not rows & blocked:
            follow.append(one)
            free |= rows
        else:
            blocked |= rows
    return follow


def firsts(follow: Iterable[Found]) -> list[Found]:
    """Of deliveries in order of number, those that follow no other of them."""
    seen = set[Row]()
    first = []
    for one in follow:
        rows = rows_of(one)
        if not rows & seen:
            first.append(one)
        seen |= rows
    return first
