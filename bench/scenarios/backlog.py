"""Whether a long backlog, or a transaction that is held open, makes delivery slower."""

from __future__ import annotations

from statistics import median

from bench.context import Context
from bench.figures import short
from bench.report import Row


def backlog(context: Context) -> list[Row]:
    few, many = context.size(200_000, 50_000), context.size(5_000_000, 400_000)
    base: list[float] = []
    held: list[float] = []
    large: list[float] = []
    for _ in range(context.size(3, 1)):
        base.append(context.stock.drain(few).rate)
        held.append(context.stock.drain(few, held=True).rate)
        large.append(context.stock.drain(many).rate)
    numbers = {"base": base, "held": held, "large": large}
    return [
        Row(
            "backlog",
            f"drain rate with {many:,} changes of backlog, against {few:,}",
            median(large) / median(base),
            ">=",
            0.9,
            detail=f"changes/s: {short(large)} against {short(base)}",
            numbers=numbers,
        ),
        Row(
            "backlog",
            f"drain rate while a transaction is held open, against none, {few:,} changes",
            median(held) / median(base),
            ">=",
            0.9,
            detail=f"changes/s: {short(held)} against {short(base)}",
            numbers=numbers,
        ),
    ]
