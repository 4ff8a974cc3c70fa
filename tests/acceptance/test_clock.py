"""The wall clock of the daemon's machine is set, forward and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.conftest import need
from tests.receivers import answer, receiver_in_thread

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.fixture
def set_clock(site: Site, tmp_path: Path) -> Callable[[str], None]:
    """Sets the clock that the daemon sees, by an offset such as ``+1h``. What measures time goes on as ever."""
    need("faketime", LIBRARY)
    offset = tmp_path / "offset"
    offset.write_text("+0s\n")
    site.environment |= {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    def set_to(by: str) -> None:
        """At once: it is read all the time, and must never be found empty."""
        written = offset.with_suffix(".new")
        written.write_text(f"{by}\n")
        written.replace(offset)

    return set_to


@pytest.mark.parametrize("jump", ["+1h", "-1h"])
def test_a_clock_that_jumps_delays_nothing_and_hurries_nothing(site: Site, set_clock, jump: str) -> None:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    failing = [answer(503)] * 3
    # Signatures are an hour off: a receiver would refuse them, and rightly so.
    with receiver_in_thread(secret=None, next_answers=failing) as receiver:
        site.configure({"w": webhook(receiver.url, ["public.orders"], retry={"schedule": ["700ms"], "jitter": 0})})
        site.apply()
        with leading(site) as daemon:
            began = time.monotonic()
            site.execute("INSERT INTO orders VALUES (1)")
            daemon.until("attempt_failed", attempt=1)
            set_clock(jump)
            eventually(lambda: len(receiver.rejected) + len(receiver.requests) >= 4, what="the fourth attempt")
            assert time.monotonic() - began >= 2.0
            site.execute("INSERT INTO orders VALUES (2)")
            eventually(lambda: daemon.metric("cdc_hooks_changes_delivered_total") == 2, what="the second change")
            stamps = [int(one.header("webhook-timestamp") or 0) for one in receiver.requests]
            assert abs(stamps[-1] - stamps[0]) > 3000, "the clock did not jump"
            set_clock("+0s")
            site.execute("INSERT INTO orders VALUES (3)")
            eventually(lambda: daemon.metric("cdc_hooks_changes_delivered_total") == 3, what="the third change")
            assert daemon.ready()[0] == 200
            assert not daemon.events("superseded")
            daemon.terminate()
            assert daemon.wait() == 0


def test_a_restart_after_the_clock_was_set_back_waits_no_longer_than_the_schedule(site: Site, set_clock) -> None:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    with receiver_in_thread(secret=None, next_answers=[answer(503)]) as receiver:
        retry = {"schedule": ["1s"], "jitter": 0, "retry_after_cap": "1s"}
        breaker = {"pause": "1s", "longest_pause": "1s"}
        site.configure({"w": webhook(receiver.url, ["public.orders"], retry=retry, breaker=breaker)})
        site.apply()
        set_clock("+1h")
        with leading(site) as daemon:
            site.execute("INSERT INTO orders VALUES (1)")
            daemon.until("attempt_failed", attempt=1)
            daemon.kill()
            site.let_the_lease_run_out()
        set_clock("+0s")
        with leading(site) as daemon:
            eventually(lambda: daemon.metric("cdc_hooks_changes_delivered_total") == 1, 30, "the second attempt")
