"""What must be true of many webhooks that fail in one daemon, each in its own way, beside one that is well."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance.faults import Patient
from tests.acceptance.harness import Daemon, Site, eventually

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


class Look:
    """What is to be seen of all webhooks, at about the same moment."""

    def __init__(self, site: Site, daemon: Daemon) -> None:
        self._daemon = daemon
        self.summaries = {one["name"]: one["summary"] for one in site.status()["webhooks"]}
        self._samples = daemon.samples("cdc_hooks_attempts_total", "cdc_hooks_webhook_state")
        kept = site.execute(
            "SELECT w.name, array_agg(DISTINCT d.state), array_agg(DISTINCT d.last_error), array_agg(DISTINCT a.error)"
            "  FROM cdc_hooks.delivery d JOIN cdc_hooks.webhook w ON w.id = d.webhook_id"
            "  LEFT JOIN cdc_hooks.attempt a ON a.delivery = d.number GROUP BY w.name"
        )
        self._kept = {name: tuple(map(set, columns)) for name, *columns in kept}

    def logged(self, name: str) -> set[str]:
        lines = [*self._daemon.events("attempt_failed", webhook=name), *self._daemon.events("split", webhook=name)]
        return {line["error"] for line in lines}

    def having(self, name: str, label: str) -> set[str]:
        """The values of this label of which the webhook has more than 0."""
        return {
            one.labels[label]
            for one in self._samples
            if one.labels["webhook"] == name and one.value and label in one.labels
        }

    def kept(self, name: str) -> tuple[set[str], set[str], set[str]]:
        """Of its unfinished deliveries in the ledger: their states, and what they and their attempts are called."""
        return self._kept.get(name, (set(), set(), set()))


def wrong_so_far(site: Site, daemon: Daemon, expected: Mapping[str, Expected]) -> dict[str, str]:
    """By webhook: what is not as it must be, or not yet."""
    look = Look(site, daemon)
    return {name: why for name, one in expected.items() if (why := _wrong(look, name, one))}


def _wrong(look: Look, name: str, one: Expected) -> str | None:
    logged, outcomes, (states, called, attempts) = look.logged(name), look.having(name, "outcome"), look.kept(name)
    if not {one.outcome} <= outcomes <= {one.outcome, "delivered"}:  # it may have been well before
        return f"its attempts are counted as {outcomes}: {logged}"
    if look.having(name, "state") != {one.state}:
        return f"it is {look.having(name, 'state')}: {logged}"
    if one.said is None:
        return f"failed: {logged}" if logged or states else None
    if not logged == called == attempts == {one.said}:
        return f"called {logged} in the log, {called} and {attempts} in the ledger"
    if not {"pending"} <= states <= {"pending", "split"}:
        return f"its deliveries are {states}"
    return None if one.said in look.summaries[name] else f"status says: {look.summaries[name]}"


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


def write_beside(site: Site, arrived: Callable[[int], object], numbers: range) -> None:
    """Write rows, one after the other, each when the one before has ``arrived`` at a receiver that is well.

    That takes no longer than it would without all the others.
    """
    took = []
    for number in numbers:
        began = time.monotonic()
        site.execute("INSERT INTO orders VALUES (%s)", number)
        arrived(number)
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
        missing.update({name: len(left) for name, one in patients.items() if (left := written - rows_at(one))})
        return not missing

    try:
        eventually(all_came, what="all that was held back")
    except AssertionError:
        raise AssertionError(missing) from None
    assert not [name for name, patient in patients.items() if patient.contradictions]
    eventually(
        lambda: {one["summary"] for one in site.status()["webhooks"]} == {"up to date"},
        what="nothing but well webhooks",
    )
    look = Look(site, daemon)
    assert not [name for name in patients if look.having(name, "state") != {"active"}]
    assert site.value("SELECT count(*) FROM cdc_hooks.delivery") == 0
    eventually(lambda: daemon.open_sockets(_ports(patients)) == 0, what="the end of all connections")
    eventually(lambda: not any(one.open for one in patients.values()), what="their end at the receivers")
    assert daemon.peak_memory_bytes() < MOST_MEMORY_BYTES


def _ports(patients: Mapping[str, Patient]) -> set[int]:
    return {patient.port for patient in patients.values()}


def rows_at(patient: Patient) -> set[int]:
    return {item["data"]["id"] for item in patient.items}
