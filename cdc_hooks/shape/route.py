"""Which changes of a page a webhook gets, and what of each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cdc_hooks.model import Change
from cdc_hooks.shape.fields import Selector
from cdc_hooks.shape.group import one_kind

if TYPE_CHECKING:
    from cdc_hooks.shape.webhook import Shape, Subscription

_Reduction = Callable[[bytes], bytes | None]


def route(changes: Sequence[Change], shape: Shape) -> list[Change]:
    """Those that the webhook wants, in the same order, with ``data`` reduced to the webhook's fields."""
    # Tuples of actions: they are compared by identity, where a set would call the enum's hash for each change.
    actions = {table: tuple(wanted.actions) for table, wanted in shape.subscriptions.items()}
    kind = one_kind(changes)
    if kind is None:
        wanted = [change for change in changes if change.action in actions.get(change.table, ())]
    else:
        wanted = list(changes) if kind[1] in actions.get(kind[0], ()) else []
    reductions = {table: how for table, s in shape.subscriptions.items() if (how := _reduction(s))}
    return [_reduced(change, reductions) for change in wanted] if reductions else wanted


def _reduction(subscription: Subscription) -> _Reduction | None:
    """What to do with a table's rows; None: nothing."""
    fields = subscription.fields
    if fields == ():
        return lambda _row: None
    if fields is None or subscription.passthrough:
        return None
    return Selector(fields)


def _reduced(change: Change, reductions: dict[str, _Reduction]) -> Change:
    number, table, action, key, old_key, at, data, truncated = change
    reduction = reductions.get(table)
    if data is None or reduction is None:
        return change
    return Change(number, table, action, key, old_key, at, reduction(data), truncated)
