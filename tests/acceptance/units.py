"""Reading systemd's unit files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path


def service_of(unit: Path) -> Mapping[str, Sequence[str]]:
    """The values of each key in the section [Service]: a key may come more than once."""
    _, _, section = unit.read_text(encoding="utf-8").partition("\n[Service]\n")
    values = defaultdict(list)
    for line in section.partition("\n[")[0].splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not key.startswith("#"):
            values[key].append(value)
    return values
