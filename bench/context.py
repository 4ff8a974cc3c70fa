"""What every scenario is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.stock import Stock

Size = TypeVar("Size", int, float)


@dataclass(frozen=True)
class Context:
    directory: Path
    stock: Stock
    quick: bool

    def size(self, full: Size, quick: Size) -> Size:
        """How much of something, or how long: the second where the run is to be quick."""
        return quick if self.quick else full
