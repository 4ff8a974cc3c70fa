"""Did everything arrive as it should? A pure comparison of what was committed with what was received."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

KEYS = {
    "customers": ("customer_id",),
    "products": ("product_id",),
    "orders": ("order_id",),
    "order_lines": ("order_id", "line_no"),
}
"""The shop's tables and their primary keys."""

Row = Mapping[str, Any]
Tables = Mapping[str, Mapping[Hashable, Row]]
"""The rows of each table, by key."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """One change of one row, as the writer and the receiver both know it: equal if nothing was lost or altered."""

    table: str
    action: str
    key: Hashable
    version: int
    """The row's own count of its states, from 1."""
    row: Row = field(hash=False)


@dataclass(frozen=True)
class Transaction:
    """What one transaction committed. Times are seconds of this process's clock."""

    committed_at: float
    changes: tuple[RowChange, ...]


@dataclass(frozen=True)
class Delivery:
    """One request whose signature was right."""

    message_id: str
    received_at: float
    table: str
    action: str
    items: tuple[tuple[str, RowChange], ...]
    """Event ids and what they say."""


@dataclass(frozen=True)
class Evidence:
    """All that the verdict is computed from; ``deliveries`` in the order of their arrival."""

    committed: Sequence[Transaction]
    undone: Sequence[RowChange]
    deliveries: Sequence[Delivery]
    rejected: int
    """Requests whose signature was wrong."""
    tables: Tables
    """The shop's tables as they stand at the end."""


@dataclass(frozen=True)
class Verdict:
    """``problems`` is empty if all is as promised."""

    problems: tuple[str, ...]
    line: str

    @property
    def ok(self) -> bool:
        return not self.problems


def exact(text: str | bytes) -> Any:
    """JSON with its fractions kept digit for digit, as text."""
    return json.loads(text, parse_float=str)


def key_in(row_id: Any) -> Hashable:
    """A row's key from its ``rowId``: a scalar, or an object for a key of several columns."""
    return tuple(sorted(row_id.items())) if isinstance(row_id, dict) else row_id


def key_of(table: str, row: Row) -> Hashable:
    """The same key, from the row."""
    names = KEYS[table]
    return row[names[0]] if len(names) == 1 else tuple(sorted((name, row[name]) for name in names))


def judge(evidence: Evidence) -> Verdict:
    """Compare, rebuild, and say it in one line."""
    committed = Counter(change for transaction in evidence.committed for change in transaction.changes)
    first = _first_sight(evidence.deliveries)
    arrived = Counter(change for _, change in first)
    undone = arrived & Counter(evidence.undone)
    found = (
        (not committed, "nothing was committed, and so nothing is shown"),
        (_count(committed - arrived), "{} committed changes did not arrive"),
        (_count(undone), "{} changes arrived that were rolled back"),
        (_count(arrived - committed - undone), "{} changes arrived that nobody committed"),
        (sum(len(one.items) for one in evidence.deliveries) - len(first), "{} changes arrived more than once"),
        (_rows_out_of_order(change for _, change in first), "the changes of {} rows arrived out of order"),
        (evidence.rejected, "{} requests had a wrong signature"),
        (_differing_rows(rebuilt(change for _, change in first), evidence.tables), "{} rebuilt rows differ"),
    )
    problems = tuple(text.format(f"{number:,}") for number, text in found if number)
    if problems:
        return Verdict(problems, f"Verdict: WRONG: {'; '.join(problems)}.")
    return Verdict((), f"Verdict: right: {_praise(evidence, _count(committed))}")


def latencies(committed: Iterable[Transaction], arrived_at: Mapping[RowChange, float]) -> list[float]:
    """Seconds from commit to the receipt of a transaction's last change, sorted; of transactions that arrived whole."""
    return sorted(
        max(arrived_at[change] for change in one.changes) - one.committed_at
        for one in committed
        if one.changes and all(change in arrived_at for change in one.changes)
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank of ``percent`` in an ascending sequence; NaN of nothing."""
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)] if ordered else float("nan")


def arrivals(deliveries: Iterable[Delivery]) -> dict[RowChange, float]:
    """When each change was first received."""
    times: dict[RowChange, float] = {}
    for delivery in deliveries:
        for _, change in delivery.items:
            times.setdefault(change, delivery.received_at)
    return times


def rebuilt(changes: Iterable[RowChange]) -> dict[str, dict[Hashable, Row]]:
    """The tables as a receiver would have them, who only applies what arrives."""
    tables: dict[str, dict[Hashable, Row]] = {table: {} for table in KEYS}
    for change in changes:
        rows = tables.setdefault(change.table, {})
        if change.action == "delete":
            rows.pop(change.key, None)
        else:
            rows[change.key] = change.row
    return tables


def _first_sight(deliveries: Iterable[Delivery]) -> list[tuple[str, RowChange]]:
    """Each event where it arrived first, as a receiver that dedupes by event id sees it."""
    seen: dict[str, RowChange] = {}
    for delivery in deliveries:
        for event_id, change in delivery.items:
            seen.setdefault(event_id, change)
    return list(seen.items())


def _rows_out_of_order(changes: Iterable[RowChange]) -> int:
    """Rows whose states did not arrive one after the other; a delete carries the version of the row that was."""
    stations: dict[tuple[str, Hashable], list[tuple[int, bool]]] = defaultdict(list)
    for change in changes:
        stations[change.table, change.key].append((change.version, change.action == "delete"))
    return sum(seen != sorted(seen) for seen in stations.values())


def _differing_rows(ours: Tables, theirs: Tables) -> int:
    return sum(
        ours.get(table, {}).get(key) != theirs.get(table, {}).get(key)
        for table in ours.keys() | theirs.keys()
        for key in ours.get(table, {}).keys() | theirs.get(table, {}).keys()
    )


def _count(changes: Counter[RowChange]) -> int:
    return sum(changes.values())


def _praise(evidence: Evidence, changes: int) -> str:
    spans = latencies(evidence.committed, arrivals(evidence.deliveries))
    parts = (
        f"all {changes:,} changes of {len(evidence.committed):,} committed transactions arrived",
        "each once and in order per row",
        f"and nothing of what was rolled back ({len(evidence.undone):,} changes)",
    )
    rest = (
        f"{len(evidence.deliveries):,} requests, all signatures valid",
        f"{len(evidence.tables)} tables rebuilt from the deliveries alone equal the originals",
        f"commit to receipt p50 {_ms(percentile(spans, 50))}, p99 {_ms(percentile(spans, 99))}.",
    )
    return "; ".join((", ".join(parts), *rest))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
