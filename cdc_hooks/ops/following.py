"""Deliveries that wait for an earlier one of their rows, where ``on_poison: hold_row`` has them wait."""

from __future__ import annotations

import json
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cdc_hooks.ops.deliveries import LETTERS, Filter, find

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psycopg

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


def held_behind(connection: psycopg.Connection[Any], gone: Iterable[Found]) -> list[Found]:
    """Deliveries that were held for those, which have got through or were deleted; in order of number."""
    rows = {row for one in gone for row in rows_of(one)}
    follow: list[Found] = []
    for webhook in sorted({webhook for webhook, _, _ in rows}):
        if find(connection, Filter(webhook=webhook, states=["held"]), limit=1):
            set_aside = find(connection, Filter(webhook=webhook, states=[*LETTERS]), ascending=True)
            follow += followers(set_aside, rows)
    return sorted(follow, key=attrgetter("number"))
