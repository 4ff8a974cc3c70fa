"""Arithmetic on measurements. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least ``percent`` of them do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def growth(samples: Sequence[float]) -> float:
    """How much the last third of the samples is above the middle one, on average: what goes up from start to end
    grows, what has only warmed up does not.
    """
    third = len(samples) // 3
    if not third:
        return 0.0
    return fmean(samples[-third:]) - fmean(samples[-2 * third : -third])


def short(values: Sequence[float], digits: int = 0) -> str:
    """All values of a few rounds, for people."""
    return " ".join(f"{value:,.{digits}f}" for value in values)
