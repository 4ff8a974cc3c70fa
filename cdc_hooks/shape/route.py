"""Which changes of a page a webhook gets, and what of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from cdc_hooks.model import Action, Change
from cdc_hooks.shape.fields import Selector

if TYPE_CHECKING:
    from cdc_hooks.shape.webhook import Shape, Subscription

_Reduction = Callable[[bytes], bytes | None]


def route(changes: Sequence[Change], kinds: Iterable[tuple[str, Action]], shape: Shape) -> Sequence[Change]:
    """Those that the webhook wants, in the same order, with ``data`` reduced to the webhook's fields.

    ``kinds``: the tables and actions that are among them. Mostly all are wanted; then no change is looked at.
    """
    # Tuples of actions: they are compared by identity, where a set would call the enum's hash for each change.
    actions = {table: tuple(wanted.actions) for table, wanted in shape.subscriptions.items()}
    wanted = changes
    if not all(action in actions.get(table, ()) for table, action in kinds):
        wanted = [change for change in changes if change.action in actions.get(change.table, ())]
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
