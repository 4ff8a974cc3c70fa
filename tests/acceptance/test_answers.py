"""What a receiver can say by a status and by Retry-After: what the running daemon makes of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import receiving
from tests.acceptance.orders import ids_of, insert, prepare
from tests.receivers import Behaviour, Received, Stream, answer

# Opens for nothing: one success is among what fails.
NEVER = {"failures": 1000, "rate": 1.0, "longest_pause": "5m"}
ONE_BY_ONE = {"batch": {"max_events": 1}, "ordering": "none", "breaker": NEVER}
HOUR, PATIENCE = 3600, 300
"""The wait of the schedule, and the longest that one waits for an endpoint that is sick. In seconds."""

SICK = {401, 405, 407, 408, 425, 429, 431, 502, 503, 504, 507, *range(520, 531)}
"""They say that it is the endpoint, and not the batch: the attempt does not count against it."""
REFUSED = {400, 413, 422}
"""They refuse what the batch says, or its size: a change that is alone is set aside at once."""
GONE = {410}


def becomes(status: int) -> tuple[str, int, int | None]:
    """Of a change that was answered so: its delivery's state, attempts that count, seconds until the next attempt."""
    if status in REFUSED:
        return "rejected", 0, None
    if status in GONE:
        return "pending", 0, 0
    return ("pending", 0, PATIENCE) if status in SICK else ("pending", 1, HOUR)


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def together(count: int, by_row: Callable[[int], Behaviour]) -> Behaviour:
    """Answers by the row, but not before so many requests are there: what the first are told holds back no others."""
    here = 0

    async def behave(request: Received, stream: Stream) -> bool:
        nonlocal here
        here += 1
        while here < count:
            await asyncio.sleep(0.01)
        return await by_row(min(ids_of(request)))(request, stream)

    return behave


def test_every_status_of_a_failure(shop):
    """Of each 40 a webhook of its own: more requests than 64 at a time no webhook makes."""
    parts = {f"w{n}": range(n, n + 40) for n in range(400, 600, 40)}
    with receiving(together(205, lambda row: answer(row or 200))) as inbox:
        options = {"concurrency": 64, "retry": {"schedule": ["1h"] * 9, "jitter": 0}, **ONE_BY_ONE}
        shop.execute("".join(f"CREATE TABLE {name} (id int PRIMARY KEY);" for name in parts))
        shop.configure({name: webhook(inbox.url, [f"public.{name}"], **options) for name in parts})
        shop.apply()
        with leading(shop) as daemon:
            for name, statuses in parts.items():
                shop.execute(f"INSERT INTO {name} SELECT unnest(%s::int[])", [0, *statuses])
            query = (
                "SELECT d.last_status, d.state, d.counted, a.error,"
                "       extract(epoch FROM d.next_attempt_at - a.at)::float8 - a.duration_s"
                "  FROM cdc_hooks.delivery d JOIN cdc_hooks.attempt a ON a.delivery = d.number ORDER BY d.last_status"
            )
            found = eventually(lambda: len(rows := shop.execute(query)) == 200 and rows, what="all attempts")
            assert [(status, error) for status, _, _, error, _ in found] == [
                (status, f"answered {status}") for status in range(400, 600)
            ]
            for status, state, counted, _, wait in found:
                expected = becomes(status)
                assert (state, counted) == expected[:2], status
                assert wait == (None if expected[2] is None else pytest.approx(expected[2], abs=5)), status
            assert daemon.until("paused")["reason"] == "answered 410"
            for name, statuses in parts.items():
                state = "paused" if 410 in statuses else "retrying"
                eventually(
                    lambda name=name, state=state: (
                        daemon.metric("cdc_hooks_webhook_state", webhook=name, state=state) == 1
                    ),
                    what=f"{name} {state}",
                )
    assert len(inbox.arrivals) == 205


SCHEDULE_S, CAP_S = 7, 1800


def retry_after(now: datetime) -> dict[str, tuple[tuple[str, ...], int | datetime]]:
    """By name: the values of the header, and the wait in seconds or its end. Dates are of this very minute."""
    soon = now + timedelta(seconds=600)
    return {
        "none at all": ((), SCHEDULE_S),
        "seconds": (("120",), 120),
        "seconds with spaces around": (("  120  ",), 120),
        "zero": (("0",), SCHEDULE_S),
        "less than the schedule": (("3",), SCHEDULE_S),
        "more than the cap": (("86400",), CAP_S),
        "more than any number": (("9" * 400,), CAP_S),
        "a date": ((format_datetime(soon, usegmt=True),), soon),
        "a date as in RFC 850": ((soon.strftime("%A, %d-%b-%y %H:%M:%S GMT"),), soon),
        "a date as of asctime": ((soon.strftime("%a %b %e %H:%M:%S %Y"),), soon),
        "a date of another zone": ((format_datetime(soon.astimezone(timezone(timedelta(hours=-5)))),), soon),
        "a date of a named zone": ((format_datetime(soon - timedelta(hours=5)).replace("+0000", "EST"),), soon),
        "a date of no zone": ((format_datetime(soon).replace("+0000", "-0000"),), soon),
        "a date that is over": ((format_datetime(now - timedelta(days=1), usegmt=True),), SCHEDULE_S),
        "a date far away": ((format_datetime(now + timedelta(days=9999), usegmt=True),), CAP_S),
        "a date that does not exist": (("Sat, 99 Nov 2099 10:00:30 GMT",), SCHEDULE_S),
        "negative": (("-30",), SCHEDULE_S),
        "a fraction": (("300.5",), SCHEDULE_S),
        "an exponent": (("1e3",), SCHEDULE_S),
        "a word": (("soon",), SCHEDULE_S),
        "nothing": (("",), SCHEDULE_S),
        "no text": (("\xff\xfe",), SCHEDULE_S),
        "a list": (("300, 900",), SCHEDULE_S),
        "two headers, of which the first counts": (("300", "900"), 300),
    }


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_every_form(shop, status):
    """The wait is the later of what is asked for and the schedule; what is no wait is as if it was not there."""
    asks = retry_after(datetime.now(UTC).replace(microsecond=0))
    names = list(asks)
    shop.environment["TZ"] = "Asia/Tokyo"  # times without a zone are not of the daemon's

    def by_row(row: int) -> Behaviour:
        return answer(status, b"", *(f"Retry-After: {one}" for one in asks[names[row - 1]][0]))

    with receiving(together(len(names), by_row)) as inbox:
        options = {"retry": {"schedule": [f"{SCHEDULE_S}s"] * 9, "jitter": 0, "retry_after_cap": f"{CAP_S}s"}}
        prepare(shop, inbox.url, concurrency=64, **options, **ONE_BY_ONE)
        with leading(shop):
            insert(shop, 1, len(names))
            query = (
                "SELECT row_ids, next_attempt_at, extract(epoch FROM last_attempt_at)::float8 + duration_s"
                "  FROM cdc_hooks.delivery"
            )
            found = eventually(lambda: len(rows := shop.execute(query)) == len(names) and rows, what="all attempts")
        for row_ids, next_at, answered_at in found:
            name = names[int(row_ids.strip("[]")) - 1]
            asked = asks[name][1]
            if isinstance(asked, datetime):
                assert abs(next_at - asked) < timedelta(seconds=0.1), name
            else:
                assert next_at.timestamp() - answered_at == pytest.approx(asked, abs=3), name
