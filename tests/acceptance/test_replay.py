"""A webhook moved by hand, and a stretch of the log sent again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import Gate, Switch, first_then, receiving
from tests.acceptance.terminal import terminal
from tests.receivers import answer, receiver_in_thread


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int); CREATE TABLE customers (id int PRIMARY KEY)")
    return site


def prepare(shop: Site, url: str, **options: Any) -> None:
    shop.configure({"w": webhook(url, ["public.orders", "public.customers"], **options)})
    shop.apply()


def insert(shop: Site, first: int, last: int) -> None:
    shop.execute("INSERT INTO orders SELECT n, 0 FROM generate_series(%s::int, %s::int) AS n", first, last)


def now(shop: Site) -> str:
    return shop.value("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')")


def resume(shop: Site, place: str) -> str:
    done = shop.run("resume", "w", "--from", place, "--yes")
    assert done.returncode == 0, done.stderr
    return done.stdout


def gaps(inbox) -> list[dict[str, Any]]:
    return [one.request.json["gap"] for one in inbox.arrivals if one.action == "gap"]


def test_from_now_leaves_out_what_waits_and_the_receiver_is_told(shop):
    switch = Switch(answer(410))
    with receiving(switch) as inbox:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            daemon.until("paused")
            insert(shop, 11, 20)
            switch.turn()
            refused = len(inbox.arrivals)
            resume(shop, "now")
            daemon.until("moved", to="now")
            insert(shop, 21, 21)
            eventually(lambda: any(21 in [i["rowId"] for i in one.items] for one in inbox.arrivals), what="what is new")
            later = inbox.arrivals[refused:]
            assert [item["rowId"] for one in later for item in one.items] == [21]
            (gap,) = gaps(inbox)
            assert "passed over" in gap["reason"]
            first, last = (int(gap[key].partition("-")[2]) for key in ("firstEventId", "lastEventId"))
            assert first <= 1
            assert last >= 20
            assert shop.value("SELECT count(*) FROM cdc_hooks.delivery") == 0
            eventually(lambda: shop.webhook_status("w")["state"] == "active", what="an active webhook")


@pytest.mark.parametrize("by", ["time", "event"])
def test_from_earlier_sends_again_what_came_since_and_nothing_is_missed(shop, by):
    with receiving() as inbox:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            insert(shop, 1, 10)
            inbox.until(10)
            place = now(shop)
            insert(shop, 11, 11)
            inbox.until(11)
            if by == "event":
                place = next(i["eventId"] for one in inbox.arrivals for i in one.items if i["rowId"] == 11)
            insert(shop, 12, 20)
            inbox.until(20)
            before = len(inbox.arrivals)
            assert "goes on from what was committed after" in resume(shop, place)
            daemon.until("moved")
            inbox.wait(lambda: sum(len(one.items) for one in inbox.arrivals[before:]) >= 10)
            insert(shop, 21, 21)
            inbox.until(21)
            again = [item["rowId"] for one in inbox.arrivals[before:] for item in one.items]
            assert again[-1] == 21
            assert set(range(11, 21)) <= set(again)
            assert gaps(inbox) == []


def test_it_is_moved_at_the_start_where_no_daemon_runs(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            insert(shop, 1, 1)
            inbox.until(1)
            daemon.terminate()
            daemon.wait()
        insert(shop, 2, 5)
        resume(shop, "now")
        with leading(shop) as daemon:
            daemon.until("moved")
            insert(shop, 6, 6)
            eventually(lambda: 6 in inbox.values("id"), what="what is new")
            assert sorted(inbox.values("id")) == [1, 6]


@pytest.mark.parametrize("place", ["yesterday", "1-x", "-1h5", ""])
def test_a_place_that_is_none(shop, place):
    prepare(shop, "https://a.example/")
    done = shop.run("resume", "w", "--from", place)
    assert done.returncode == 2
    assert "is no time" in done.stderr
    assert "[y/N]" not in done.stderr


def test_an_event_that_never_was_and_a_time_to_come_are_refused(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            insert(shop, 1, 3)
            inbox.until(3)
    for place, why in (
        ("9-1", "there is no event 9-1"),
        ("1-0", "there is no event 1-0"),
        ("1-4", "there is no event 1-4"),
        ("2101-02-03", "2101-02-03 is in the future"),
        ("2001-02-03", f"2001-02-03 is before all that is known, which begins at {datetime.now(UTC):%Y-%m-%d}"),
        ("0", "goes on from what was committed after"),
        ("1-3", "goes on from what was committed after"),
    ):
        done = shop.run("resume", "w", "--from", place, "--yes")
        assert why in done.stderr + done.stdout
        assert done.returncode == (0 if "goes on" in why else 2)
    assert "its events are 1-1 to 1-3" in shop.run("resume", "w", "--from", "1-4", "--yes").stderr
    for event in ("9-1", "1-4", "2h"):
        done = shop.run("replay", "w", "--from", "1h", "--after", event, "--yes")
        assert done.returncode == 2
        assert done.stderr.startswith("--after: ")


def test_a_replay_is_marked_and_sends_what_was_written_in_that_time(shop):
    with receiving() as inbox, receiver_in_thread(secret=None) as other:
        prepare(shop, inbox.url)
        with leading(shop):
            insert(shop, 1, 5)
            begin = now(shop)
            insert(shop, 6, 300)
            shop.execute("INSERT INTO customers VALUES (1)")
            end = now(shop)
            insert(shop, 301, 310)
            inbox.until(311)
            before = len(inbox.arrivals)
            done = shop.run("replay", "w", "--from", begin, "--to", end, "--table", "public.orders", "--yes")
            assert done.returncode == 0, done.stderr
            assert "295 changes in 3 requests arrived" in done.stdout
            again = inbox.arrivals[before:]
            assert [item["rowId"] for one in again for item in one.items] == list(range(6, 301))
            assert all(one.request.json["replay"].startswith("replay-20") for one in again)
            assert all(one.request.verified for one in again)
            ids = {one.id for one in inbox.arrivals[:before]}
            assert not ids & {one.id for one in again}
            assert {e for one in again for e in one.events} <= {
                e for one in inbox.arrivals[:before] for e in one.events
            }
            assert "replay" not in json.loads(inbox.arrivals[0].body)
        assert other.requests == []


def test_a_replay_shows_on_a_terminal_how_far_it_is(shop):
    gate = Gate()
    with receiving() as inbox:
        prepare(shop, inbox.url, batch={"max_events": 10})
        with leading(shop):
            begin = now(shop)
            insert(shop, 1, 30)
            inbox.until(30)
            before = len(inbox.arrivals)
            inbox.then = first_then(1, answer(), gate)
            with terminal(shop, "replay", "w", "--from", begin, "--yes") as (process, until):
                inbox.wait(lambda: len(inbox.arrivals) == before + 2)
                assert "━" in until("10/30")
                gate.open()
                until("30 changes in 3 requests arrived")
                assert process.wait(10) == 0


def test_a_replay_keeps_to_its_rate(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url, batch={"max_events": 1}, ordering="strict")
        with leading(shop):
            begin = now(shop)
            insert(shop, 1, 6)
            inbox.until(6)
            before = len(inbox.arrivals)
            assert shop.run("replay", "w", "--from", begin, "--rate", "10", "--yes").returncode == 0
    times = [one.at for one in inbox.arrivals[before:]]
    assert len(times) == 6
    assert times[-1] - times[0] >= 0.5


def test_a_replay_that_is_refused_says_where_to_go_on(shop, monkeypatch):
    from cdc_hooks.cli import replaying

    assert len(replaying.PAUSES_S) == 3
    switch = Switch(answer())
    with receiving(switch) as inbox:
        prepare(shop, inbox.url, batch={"max_events": 10})
        with leading(shop) as daemon:
            begin = now(shop)
            insert(shop, 1, 30)
            inbox.until(30)
            before = len(inbox.arrivals)
            daemon.terminate()
            daemon.wait()

        async def third_fails(request, stream) -> bool:
            return await answer(410 if request.json["items"][0]["rowId"] == 21 else 200)(request, stream)

        inbox.then = third_fails
        stopped = shop.run("replay", "w", "--from", begin, "--yes")
        assert stopped.returncode == 1
        assert (
            "answered 410; 20 changes in 2 requests arrived; to go on: the same command with --after " in stopped.stderr
        )
        after = stopped.stderr.strip().rpartition(" ")[2]
        inbox.then = answer()
        done = shop.run("replay", "w", "--from", begin, "--after", after, "--yes")
        assert done.returncode == 0, done.stderr
        assert "10 changes in 1 request arrived" in done.stdout
        rows = [item["rowId"] for one in inbox.arrivals[before:] for item in one.items]
        assert rows == [*range(1, 21), *[n for _ in range(4) for n in range(21, 31)], *range(21, 31)]


def test_a_replay_whose_database_goes_away_says_where_to_go_on(shop):
    with receiving() as inbox:
        prepare(shop, inbox.url, batch={"max_events": 1000})
        with leading(shop):
            begin = now(shop)
            insert(shop, 1, 30_000)
            inbox.until(30_000)

        async def terminate(request, stream) -> bool:
            shop.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ 'replay'")
            return await answer()(request, stream)

        inbox.then = first_then(1, answer(), terminate)
        stopped = shop.run("replay", "w", "--from", begin, "--yes")
        assert stopped.returncode == 1
        assert "\nstopped: the connection " in "\n" + stopped.stderr
        assert "to go on: the same command with --after 1-" in stopped.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--from", "1h", "--to", "2h"], "is not before"),
        (["--from", "tomorrow"], "is no time"),
        (["--from", "1h", "--after", "4711"], "is no event"),
        (["--from", "1h", "--table", "public.order"], "did you mean public.orders?"),
    ],
)
def test_a_replay_of_nothing(shop, options, what):
    prepare(shop, "https://a.example/")
    done = shop.run("replay", "w", *options, "--yes")
    assert done.returncode == 2
    assert what in done.stderr
