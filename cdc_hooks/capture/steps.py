"""A plan: steps in order, each a transaction of its own. Data, and the script that a DBA can read and run."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_hooks import __version__, sql
from cdc_hooks.capture.definition import template

LOCK_TIMEOUT_S = 2.0
LOCK = sql.queries("capture")["lock_in_transaction"]


@dataclass(frozen=True)
class Step:
    """One transaction: what it does, line by line, what should be known about it, and the SQL."""

    subject: str
    """``role NAME``, ``schema cdc_hooks``, ``table public.orders``, …"""
    lines: tuple[str, ...]
    sql: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What would be done; nothing, where everything is as it is wanted (then it is false)."""

    database: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    """What should be known of captures that are in place already."""

    def __bool__(self) -> bool:
        return bool(self.steps)

    def sql(self, *, lock_timeout_s: float = LOCK_TIMEOUT_S) -> str:
        """A script for psql that leads to the same state as ``apply``."""
        return template(
            "script",
            version=__version__,
            database=_one_line(self.database),
            parts="\n".join(_script(step, lock_timeout_s) for step in self.steps),
        )


def _script(step: Step, lock_timeout_s: float) -> str:
    said = (f"{step.subject}:", *step.lines, *(f"note: {note}" for note in step.notes))
    return template(
        "step",
        title="\n".join(f"-- {_one_line(line)}" for line in said),
        lock_timeout=template("lock_timeout", lock_timeout_ms=str(round(lock_timeout_s * 1000))),
        lock=LOCK,
        statements="".join(step.sql),
    )


def _one_line(text: str) -> str:
    """A name may hold line ends; a comment may not."""
    return " ".join(text.split())
