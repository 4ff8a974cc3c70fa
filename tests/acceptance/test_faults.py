"""Every fault that we know of at once, one webhook each, beside one whose receiver is well."""

from __future__ import annotations

import statistics
import time

from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.faults import BOMB, FAULTS, Patient, hospital
from tests.acceptance.harness import Daemon, Site, eventually, get, leading, webhook
from tests.acceptance.inbox import receiving

CONCURRENCY = 2
KEPT_BYTES = 16 * 1024
OPTIONS = {
    "timeout": {"connect": "3s", "total": "3s"},  # what answers at once does so on a busy machine, too
    "retry": {"schedule": ["100ms"] * 900, "jitter": 0},
    "breaker": {"failures": 3, "pause": "200ms", "longest_pause": "400ms", "drain_rate": 500},
    "concurrency": CONCURRENCY,
}


def wrong_so_far(site: Site, daemon: Daemon) -> dict[str, str]:
    """By fault, what of its row in the table is not true yet."""
    deliveries, webhooks = first_deliveries(site), states(daemon)
    wrong = {}
    for name, fault in FAULTS.items():
        became = (deliveries.get(name), webhooks[name])
        if became != (fault.delivery, fault.webhook):
            wrong[name] = f"its delivery and its webhook are {became}"
        elif (why := wrong_attempts(daemon, name)) is not None:
            wrong[name] = why
    return wrong


def states(daemon: Daemon) -> dict[str, str]:
    """By webhook, the state that the metrics say it is in."""
    _, _, text = get(daemon, "/metrics")
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {
        one.labels["webhook"]: one.labels["state"]
        for one in samples
        if one.name == "cdc_hooks_webhook_state" and one.value == 1
    }


def first_deliveries(site: Site) -> dict[str, str]:
    """The state of each webhook's first delivery, as ``deliveries list`` shows it; of what was split, of a part."""
    return dict(
        site.execute(
            "SELECT DISTINCT ON (w.name) w.name, d.state FROM cdc_hooks.every_delivery d"
            " JOIN cdc_hooks.webhook w ON w.id = d.webhook_id WHERE d.state <> 'split' ORDER BY w.name, d.number"
        )
    )


def wrong_attempts(daemon: Daemon, name: str) -> str | None:
    fault = FAULTS[name]
    failed = [
        line["error"]
        for event in ("attempt_failed", "split", "dead_letter")
        for line in daemon.events(event, webhook=name)
    ]
    if fault.said is None:
        return f"failed: {failed[0]}" if failed else None
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
                wrong.update(wrong_so_far(site, daemon))
                return not wrong

            try:
                eventually(as_expected, what="every fault")
            except AssertionError:
                raise AssertionError(wrong) from None
            # Generous: on a busy machine only what waits for somebody else's timeout would be above it.
            assert statistics.median(took) < 0.5
            assert states(daemon)["well"] == "active"
            assert first_deliveries(site)["well"] == "delivered"
            assert stored_too_much(site) == []
            assert answers_of(site, "failure-with-a-huge-body") == {("content-length: 1000000000", b"x" * KEPT_BYTES)}
            bomb = (f"content-length: {len(BOMB)}\ncontent-encoding: gzip, gzip", BOMB)
            assert answers_of(site, "gzip-bomb-of-a-failure") == {bomb}
            no_text = ("x: \ufffd\ufffd\ufffd\ncontent-length: 4", b"\0\xff\0\xfe")
            assert answers_of(site, "nul-and-no-utf8") == {no_text}
            assert daemon.metric("cdc_hooks_ledger_lost_total") == 0
            assert daemon.peak_memory_bytes() < 250 * 2**20
            assert daemon.open_sockets() < 2 * CONCURRENCY * len(FAULTS)
            # Requests, successes whose bodies are read to their end, and what a receiver notices late.
            crowded = {name: p.most_open for name, p in patients.items() if p.most_open > 4 * CONCURRENCY}
            # Who never reads does not get to know of an end, which comes after all that was sent.
            crowded.pop("never-reads-the-body", None)
            assert crowded == {}
            assert daemon.open_sockets({patients["never-reads-the-body"].port}) <= 2 * CONCURRENCY
            # Those that are too large even alone are the only ones that were set aside.
            assert set_aside(site) <= {"early-413"}

            heal()
            site.execute("INSERT INTO orders SELECT n, 0 FROM generate_series(201, 300) AS n")
            site.execute("INSERT INTO documents VALUES (21, 'short')")  # who has nothing to send finds out nothing
            eventually(lambda: not missing(site, patients), 60, what="all that was held back")
            eventually(lambda: set(states(daemon).values()) == {"active"}, what="well webhooks")
            assert not [name for name, patient in patients.items() if patient.contradictions]
            daemon.terminate()
            assert daemon.wait() == 0


def stored_too_much(site: Site) -> list[tuple[str, int, int, int]]:
    """Webhooks with failed attempts in the ledger whose error, headers or body are longer than they may be."""
    return site.execute(
        "SELECT DISTINCT w.name, length(a.error), length(a.response_headers), length(a.response_body)"
        "  FROM cdc_hooks.attempt a JOIN cdc_hooks.delivery d ON d.number = a.delivery"
        "  JOIN cdc_hooks.webhook w ON w.id = d.webhook_id"
        " WHERE length(a.error) > 600 OR length(a.response_headers) > 32 * 1002 OR length(a.response_body) > %s",
        KEPT_BYTES,
    )


def answers_of(site: Site, name: str) -> set[tuple[str, bytes]]:
    """The headers and bodies of failed attempts that the ledger has of a webhook."""
    return set(
        site.execute(
            "SELECT a.response_headers, a.response_body FROM cdc_hooks.attempt a"
            "  JOIN cdc_hooks.delivery d ON d.number = a.delivery JOIN cdc_hooks.webhook w ON w.id = d.webhook_id"
            " WHERE w.name = %s",
            name,
        )
    )


def set_aside(site: Site) -> set[str]:
    """Webhooks with a delivery that is not finished with, nor waits to be."""
    rows = site.execute(
        "SELECT w.name FROM cdc_hooks.delivery d JOIN cdc_hooks.webhook w ON w.id = d.webhook_id"
        " WHERE d.state NOT IN ('pending', 'split', 'part')"
    )
    return {name for (name,) in rows}


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
