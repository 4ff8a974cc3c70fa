"""Pages of changes for the tests of shapes: by hand, and at random from a seed."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from cdc_hooks.model import Action, Batch, Change
from cdc_hooks.shape import Shape, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable

AT = b"2026-11-21T10:00:00.123456Z"
ALL = frozenset(Action)
EVERYTHING = Subscription(ALL, fields=None, passthrough=True)
INSERT, UPDATE, DELETE, TRUNCATE = Action.INSERT, Action.UPDATE, Action.DELETE, Action.TRUNCATE


def shape(**options: Any) -> Shape:
    defaults: dict[str, Any] = {
        "webhook": "order-sync",
        "installation": "0b0e3f0c-6f0a-4c6e-9a53-4d4c1cf3f5a7",
        "subscriptions": dict.fromkeys(("public.orders", "public.customers", "public.log"), EVERYTHING),
        "ordering": "key",
        "concurrency": 4,
        "max_events": 100,
        "max_bytes": 256 * 1024,
        "client_code": None,
        "hmac_key": b"key",
    }
    return Shape(**defaults | options)


def change(number: int, action: Action = UPDATE, key: object = 1, **options: Any) -> Change:
    """``key`` and ``old_key`` as Python values; None for a table without a key."""
    old_key = options.pop("old_key", None)
    values: dict[str, Any] = {
        "table": "public.orders",
        "at": AT,
        "data": None if action is TRUNCATE else b'{"id":%d}' % number,
        "truncated": False,
    }
    return Change(
        id=number,
        action=action,
        key=None if key is None else json.dumps(key).encode(),
        old_key=None if old_key is None else json.dumps(old_key).encode(),
        **values | options,
    )


def random_page(
    seed: int, *, length: int = 400, rows: int = 30, key_changes: bool = False, truncates: bool = False
) -> list[Change]:
    """A history that a database could have written: a row is inserted before it is updated, and so on."""
    pick = random.Random(seed)
    alive: dict[str, set[int]] = {"public.orders": set(), "public.customers": set()}
    page: list[Change] = []
    number = pick.choice([1, 95, 10**9, 2**62])
    while len(page) < length:
        number += pick.choice([1, 1, 1, 7])
        table = pick.choice([*alive, "public.log"])
        data = json.dumps({"n": number, "text": "x" * pick.choice([0, 0, 3, 50, 400])}).encode()
        truncated = pick.random() < 0.05
        options: dict[str, Any] = {"table": table, "data": None if truncated else data, "truncated": truncated}
        if table == "public.log":
            page.append(change(number, INSERT, None, **options))
            continue
        keys = alive[table]
        key = pick.randrange(rows)
        if truncates and pick.random() < 0.02:
            page.append(change(number, TRUNCATE, None, table=table))
            keys.clear()
        elif key not in keys:
            page.append(change(number, INSERT, key, **options))
            keys.add(key)
        elif pick.random() < 0.3:
            page.append(change(number, DELETE, key, **options))
            keys.remove(key)
        elif key_changes and pick.random() < 0.2 and (free := set(range(rows)) - keys):
            new = pick.choice(sorted(free))
            page.append(change(number, UPDATE, new, old_key=key, **options))
            keys.remove(key)
            keys.add(new)
        else:
            page.append(change(number, UPDATE, key, **options))
    return page


State = dict[tuple[str, bytes | None], bytes | None]


def replay(changes: Iterable[Change]) -> State:
    """The tables' rows after these changes; of rows without a key, the last one."""
    state: State = {}
    for one in changes:
        if one.action is TRUNCATE:
            for row in [row for row in state if row[0] == one.table]:
                del state[row]
            continue
        if one.old_key is not None:
            del state[one.table, one.old_key]
        if one.action is DELETE:
            del state[one.table, one.key]
        else:
            fresh = one.key is None or (one.table, one.key) not in state
            assert fresh == (one.action is INSERT or one.old_key is not None)
            state[one.table, one.key] = one.data
    return state


def interleave(lanes: list[list[Batch]], seed: int) -> list[Batch]:
    """The batches in one of the orders in which lanes may deliver them: each lane's own order is kept."""
    pick = random.Random(seed)
    waiting = [list(lane) for lane in lanes]
    order: list[Batch] = []
    while waiting := [lane for lane in waiting if lane]:
        order.append(pick.choice(waiting).pop(0))
    return order
