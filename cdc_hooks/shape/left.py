"""What is left of a page that another configuration has delivered in part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdc_hooks.shape.lanes import lanes
from cdc_hooks.shape.route import route
from cdc_hooks.shape.webhook import Shape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from cdc_hooks.model import Action, Change


def left_of(
    changes: list[Change], kinds: Collection[tuple[str, Action]], earlier: Iterable[tuple[str, Sequence[int]]]
) -> list[Change]:
    """The changes that none of the earlier claims of their page has finished.

    ``earlier``: of each, in order, the shape as ``Shape.described`` has it, and how many batches of each lane were
    finished. Each was made of what those before it had left. One that cannot be made again tells nothing, and neither
    do those after it: rather something twice than not at all.
    """
    for described, done in earlier:
        shape = Shape.of(described)
        made = [] if shape is None else lanes(route(changes, kinds, shape), shape)
        if len(made) != len(done):
            break
        batches = [batch for lane, count in zip(made, done, strict=True) for batch in lane[:count]]
        finished = {change.id for batch in batches for change in batch.changes}
        changes = [change for change in changes if change.id not in finished]
    return changes
