"""What must be true of many webhooks that fail in one daemon, each in its own way, beside one that is well."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.faults import Patient
from tests.acceptance.harness import Daemon, Site, eventually
from tests.acceptance.inbox import Inbox

CONCURRENCY = 2
OPTIONS = {
    "timeout": {"connect": "1s", "total": "2s"},
    "retry": {"schedule": ["100ms"] * 900, "jitter": 0},
    "breaker": {"failures": 3, "pause": "200ms", "longest_pause": "400ms", "drain_rate": 500},
    "concurrency": CONCURRENCY,
}
MOST_MEMORY_BYTES = 200 * 2**20


@dataclass(frozen=True)
class Expected:
    """What must become of a fault while it lasts."""

    said: str | None
    """What each attempt is called: in the log, in the ledger and in ``status``. None: it is delivered nevertheless."""
    outcome: str = "delivered"
    """What the attempts are counted as in the metrics."""
    state: str = "active"
    """The webhook's."""
    options: dict[str, Any] = field(default_factory=dict)


def wrong_so_far(site: Site, daemon: Daemon, expected: Mapping[str, Expected]) -> dict[str, str]:
    """By webhook: what is not as it must be, or not yet."""
    kept, summaries = _ledger(site), {one["name"]: one["summary"] for one in site.status()["webhooks"]}
    found = {name: _wrong(daemon, name, one, kept.get(name, {}), summaries[name]) for name, one in expected.items()}
    return {name: why for name, why in found.items() if why}


def _ledger(site: Site) -> dict[str, dict[str, set[str]]]:
    """By webhook, of what has failed: how deliveries are called, how attempts are, and the states of deliveries."""
    rows = site.execute(
        "SELECT w.name, array_agg(DISTINCT d.last_error), array_agg(DISTINCT d.state), array_agg(DISTINCT a.error)"
        "  FROM cdc_hooks.delivery d JOIN cdc_hooks.webhook w ON w.id = d.webhook_id"
        "  LEFT JOIN cdc_hooks.attempt a ON a.delivery = d.number GROUP BY w.name"
    )
    return {name: {"deliveries": set(d), "states": set(s), "attempts": set(a)} for name, d, s, a in rows}


def _wrong(daemon: Daemon, name: str, one: Expected, kept: Mapping[str, set[str]], summary: str) -> str | None:
    logged = {line["error"] for event in ("attempt_failed", "split") for line in daemon.events(event, webhook=name)}
    counted = daemon.metric("cdc_hooks_attempts_total", webhook=name)
    if daemon.metric("cdc_hooks_attempts_total", webhook=name, outcome=one.outcome) != counted or not counted:
        return f"it has attempts that are not counted as {one.outcome}, or none; {logged}"
    if daemon.metric("cdc_hooks_webhook_state", webhook=name, state=one.state) != 1:
        return f"it is not {one.state}; {logged}"
    if one.said is None:
        return f"failed: {logged}{kept}" if logged or kept else None
    if logged != {one.said}:
        return f"called {logged}"
    if kept != {"deliveries": {one.said}, "states": kept.get("states"), "attempts": {one.said}}:
        return f"in the ledger: {kept}"
    if not {"pending"} <= kept["states"] <= {"pending", "split"}:
        return f"in the ledger: {kept}"
    return None if one.said in summary else f"status says: {summary}"


def until_as_expected(site: Site, daemon: Daemon, expected: Mapping[str, Expected]) -> None:
    wrong: dict[str, str] = {}

    def as_expected() -> bool:
        wrong.clear()
        wrong.update(wrong_so_far(site, daemon, expected))
        return not wrong

    try:
        eventually(as_expected, what="all that is expected")
    except AssertionError:
        raise AssertionError(wrong) from None


def write_beside(site: Site, well: Inbox, numbers: range) -> None:
    """Write rows, one after the other; each comes to the receiver that is well before any fault could run out."""
    took = []
    for number in numbers:
        began = time.monotonic()
        site.execute("INSERT INTO orders VALUES (%s)", number)
        well.until(number)
        took.append(time.monotonic() - began)
    # Generous: on a busy machine only what waits for somebody else's timeout would be above it.
    assert statistics.median(took) < 0.5


def check_bounds(daemon: Daemon, patients: Mapping[str, Patient]) -> None:
    """What the daemon holds while it lasts."""
    assert daemon.peak_memory_bytes() < MOST_MEMORY_BYTES
    connected = daemon.open_sockets(_ports(patients))
    assert connected <= CONCURRENCY * len(patients), connected
    # A receiver may notice late that a connection is closed.
    crowded = {name: patient.most_open for name, patient in patients.items() if patient.most_open > 2 * CONCURRENCY}
    assert not crowded, crowded


def until_all_is_well(site: Site, daemon: Daemon, patients: Mapping[str, Patient]) -> None:
    """Everything arrives, no webhook fails any more, and in the end nothing is left open."""
    written = {number for (number,) in site.execute("SELECT id FROM orders")}
    missing: dict[str, int] = {}

    def all_came() -> bool:
        missing.clear()
        missing.update({name: len(left) for name, one in patients.items() if (left := written - _rows(one))})
        return not missing

    try:
        eventually(all_came, what="all that was held back")
    except AssertionError:
        raise AssertionError(missing) from None
    assert not [name for name, patient in patients.items() if patient.contradictions]
    eventually(
        lambda: {one["summary"] for one in site.status()["webhooks"]} == {"up to date"}, what="nothing but well webhooks"
    )
    for name in patients:
        assert daemon.metric("cdc_hooks_webhook_state", webhook=name, state="active") == 1
    assert site.value("SELECT count(*) FROM cdc_hooks.delivery") == 0
    eventually(lambda: daemon.open_sockets(_ports(patients)) == 0, what="the end of all connections")
    eventually(lambda: not any(one.open for one in patients.values()), what="their end at the receivers")
    assert daemon.peak_memory_bytes() < MOST_MEMORY_BYTES


def _ports(patients: Mapping[str, Patient]) -> set[int]:
    return {patient.port for patient in patients.values()}


def _rows(patient: Patient) -> set[int]:
    return {item["data"]["id"] for body in list(patient.bodies.values()) for item in json.loads(body)["items"]}
