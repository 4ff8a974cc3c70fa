"""Every fault that we know of at once, one webhook each, beside one whose receiver is well."""

from __future__ import annotations

import statistics
import time

from tests.acceptance.faults import FAULTS, Patient, hospital
from tests.acceptance.harness import Daemon, Site, eventually, leading, webhook
from tests.acceptance.inbox import receiving

CONCURRENCY = 2
OPTIONS = {
    "timeout": {"connect": "1s", "total": "1s"},
    "retry": {"schedule": ["100ms"] * 900, "jitter": 0},
    "breaker": {"failures": 3, "pause": "200ms", "longest_pause": "400ms", "drain_rate": 500},
    "concurrency": CONCURRENCY,
}


def wrong_so_far(daemon: Daemon, name: str) -> str | None:
    """What of a fault's row in the table is not true yet."""
    fault = FAULTS[name]
    failed = [
        line["error"]
        for event in ("attempt_failed", "split", "dead_letter")
        for line in daemon.events(event, webhook=name)
    ]
    if fault.said is None:
        delivered = daemon.metric("cdc_hooks_deliveries_total", webhook=name, outcome="delivered")
        return f"failed: {failed[0]}" if failed else (None if delivered else "nothing is delivered")
    if not failed:
        return "no attempt has failed"
    return next((f"called {one!r}" for one in failed if fault.said not in one), None)


def test_every_fault_is_called_by_its_name_and_harms_nobody_else(site: Site) -> None:
    site.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, number int); CREATE TABLE documents (id int PRIMARY KEY, text text)"
    )
    with hospital() as (patients, heal), receiving() as well:
        webhooks = {
            name: webhook(
                patient.url,
                ["public.documents" if patient.fault.large else "public.orders"],
                **OPTIONS,
                batch={"max_bytes": "32MiB"},
            )
            for name, patient in patients.items()
        }
        site.configure({**webhooks, "well": webhook(well.url, ["public.orders"])})
        site.apply()
        with leading(site) as daemon:
            site.execute("INSERT INTO documents SELECT n, repeat('x', 900000) FROM generate_series(1, 20) AS n")
            took = []
            for number in range(1, 201):
                began = time.monotonic()
                site.execute("INSERT INTO orders VALUES (%s, 0)", number)
                well.until(number)
                took.append(time.monotonic() - began)
            wrong = {}

            def as_expected() -> bool:
                wrong.clear()
                wrong.update({name: why for name in FAULTS if (why := wrong_so_far(daemon, name))})
                return not wrong

            try:
                eventually(as_expected, what="every fault")
            except AssertionError:
                raise AssertionError(wrong) from None
            # Generous: on a busy machine only what waits for somebody else's timeout would be above it.
            assert statistics.median(took) < 0.5
            assert daemon.metric("cdc_hooks_webhook_state", webhook="well", state="active") == 1
            assert daemon.peak_memory_bytes() < 250 * 2**20
            assert daemon.open_sockets() < 2 * CONCURRENCY * len(FAULTS)
            # Requests, successes whose bodies are read to their end, and what a receiver notices late. Who does not
            # read never gets to the end of what was sent, which the system keeps for it.
            crowded = {name for name, patient in patients.items() if patient.most_open > 4 * CONCURRENCY}
            assert crowded <= {"never-reads-the-body"}
            letters = site.execute(
                "SELECT w.name FROM cdc_hooks.delivery d JOIN cdc_hooks.webhook w ON w.id = d.webhook_id"
                " WHERE d.state NOT IN ('pending', 'split', 'part')"
            )
            # Those that are too large even alone are the only ones that were set aside.
            assert {name for (name,) in letters} <= {"early-413"}

            heal()
            site.execute("INSERT INTO orders SELECT n, 0 FROM generate_series(201, 300) AS n")
            # Where all was set aside already, nothing else would tell that the endpoint is well.
            site.execute("INSERT INTO documents VALUES (21, 'x')")
            eventually(lambda: not missing(site, patients), 60, what="all that was held back")
            eventually(lambda: not unwell(daemon), what="well webhooks")
            assert not [name for name, patient in patients.items() if patient.contradictions]
            daemon.terminate()
            assert daemon.wait() == 0


def missing(site: Site, patients: dict[str, Patient]) -> dict[str, int]:
    """How many events of those that failed before have not come after all."""
    wanted = {
        f"1-{number}"
        for (number,) in site.execute("SELECT id FROM cdc_hooks.change WHERE table_name = 'public.orders'")
    }
    return {
        name: len(wanted - patient.events)
        for name, patient in patients.items()
        if patient.fault.said is not None and not patient.fault.large and wanted - patient.events
    }


def unwell(daemon: Daemon) -> list[str]:
    return [n for n in FAULTS if daemon.metric("cdc_hooks_webhook_state", webhook=n, state="active") != 1]
