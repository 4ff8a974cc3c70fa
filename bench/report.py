"""What was measured against what is required, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

_LIBRARIES = ("cdc-hooks", "psycopg", "httptools", "uvloop")


@dataclass(frozen=True)
class Row:
    """One requirement. ``detail`` is for people, ``numbers`` for programs."""

    scenario: str
    what: str
    measured: float
    relation: Literal[">=", "<=", "<"]
    required: float
    unit: str = ""
    digits: int = 2
    detail: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        if self.relation == ">=":
            return self.measured >= self.required
        return self.measured <= self.required if self.relation == "<=" else self.measured < self.required


def show(rows: Sequence[Row], *, quick: bool) -> None:
    """Print the table."""
    table = Table(title="cdc-hooks: what it must reach" + (" (quick: too short to judge by)" if quick else ""))
    for heading, justify in (("scenario", "left"), ("what", "left"), ("required", "right"), ("measured", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    table.add_column("")
    table.add_column("detail", style="dim")
    for row in rows:
        table.add_row(
            row.scenario,
            row.what,
            f"{row.relation} {_number(row.required, row)}",
            _number(row.measured, row),
            "[green]pass[/]" if row.passed else "[red]FAIL[/]",
            row.detail,
        )
    width = None if os.isatty(1) else 200
    Console(width=width).print(table)


def write(rows: Sequence[Row], path: Path, *, quick: bool, server: str, started: str, took_s: float) -> None:
    """Write the JSON file, with what one must know to compare it with another, and the table beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "started": started,
        "took_s": round(took_s, 1),
        "quick": quick,
        "machine": machine() | {"postgresql": server},
        "rows": [asdict(row) | {"passed": row.passed} for row in rows],
    }
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")


def markdown(rows: Sequence[Row]) -> str:
    """The table of docs/benchmark.md."""
    lines = ["| | must | measured | |", "|---|---|---|---|"]
    for row in rows:
        verdict = row.detail if row.passed else f"**not reached**; {row.detail}".removesuffix("; ")
        must = f"{row.relation} {_number(row.required, row)}".replace(">=", "≥").replace("<=", "≤")
        lines.append(f"| `{row.scenario}`: {row.what} | {must} | {_number(row.measured, row)} | {verdict} |")
    return "\n".join(lines) + "\n"


def machine() -> dict[str, Any]:
    """This machine and the programs that were measured on it."""
    processor = [line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if "model name" in line]
    memory_kib = next((int(line.split()[1]) for line in _read("/proc/meminfo").splitlines() if "MemTotal" in line), 0)
    return {
        "cpu": processor[0] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kib / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _number(value: float, row: Row) -> str:
    text = f"{value:,.{row.digits}f}" if value != int(value) or row.digits == 0 else f"{value:,.0f}"
    return f"{text} {row.unit}".rstrip()
