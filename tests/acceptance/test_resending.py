"""``deliveries resend``: what is listed afterwards, and what becomes of it when the database goes away."""

from __future__ import annotations

import json

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import first_then, receiving
from tests.acceptance.orders import SOON, insert, letters, prepare
from tests.acceptance.proxy import proxied
from tests.receivers import Received, Stream, answer


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def test_what_was_resent_is_listed_with_what_came_of_it(shop):
    with receiving(first_then(2, answer(422), answer(202))) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            insert(shop, 1, 1)
            eventually(lambda: letters(shop) == [("rejected", 1, 422)], what="a letter")
            assert shop.run("deliveries", "resend", "--webhook", "w", "--yes").returncode == 1
            assert shop.run("deliveries", "resend", "--webhook", "w", "--yes").returncode == 0
    done = shop.run("deliveries", "list", "--state", "resent", "--json")
    (one,) = json.loads(done.stdout)
    assert (one["attempts"], one["last_status"], one["last_error"]) == (3, 202, None)
    assert one["first_attempt_at"] < one["last_attempt_at"]
    assert "answered 202" in shop.run("deliveries", "list", "--state", "resent").stdout
    assert shop.run("deliveries", "list", "--status", "422", "--state", "resent").stdout == "No deliveries.\n"
    told = shop.run("deliveries", "show", str(one["number"])).stdout
    places = [told.index(part) for part in ("attempt 1,", "attempt 2, by hand,", "attempt 3,", "answered 202")]
    assert places == sorted(places)
    assert "other attempts" not in told


def with_letters(shop: Site, url: str, count: int) -> None:
    """So many dead letters, of one row each."""
    prepare(shop, url, batch={"max_events": 1}, retry=SOON)
    with leading(shop) as daemon:
        insert(shop, 1, count)
        eventually(lambda: len(letters(shop)) == count, what="the letters")
        daemon.terminate()
        daemon.wait()


@pytest.mark.parametrize("when", ["before", "after"])
def test_without_the_database_a_resend_ends_and_says_what_was_sent(shop, when):
    port = int(conninfo_to_dict(shop.dsn)["port"])
    with receiving(answer(422)) as inbox, proxied(port) as proxy:
        with_letters(shop, inbox.url, 4)
        shop.configure(
            {"w": webhook(inbox.url, ["public.orders"], batch={"max_events": 1})}, dsn=shop.daemon_dsn(port=proxy.port)
        )

        async def cut(request: Received, stream: Stream) -> bool:
            """Before it answers the second one, or when the second one is recorded."""
            sent = len(inbox.arrivals) - 4
            if when == "before" and sent == 2:
                proxy.cut(stay_down=True)
            if when == "after" and sent == 2:
                shop.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cdc-hooks'"
                )
            return await answer()(request, stream)

        inbox.then = cut
        done = shop.run("deliveries", "resend", "--webhook", "w", "--yes")
        assert len(inbox.arrivals) == 4 + 2
        assert done.returncode == 1, done.stderr
        first, *rest = done.stdout.splitlines()
        assert "delivered, answered 200" in first
        assert rest == ["1 delivered, 1 not recorded, 2 not tried."]
        number = int(first.partition(":")[0]) + 1
        assert "error: the database was lost: " in done.stderr
        assert f"{number} was sent (delivered, answered 200, " in done.stderr
        assert "that is not recorded: it would be sent again" in done.stderr
        assert done.stderr.count("\n") == 2
        assert letters(shop) == [("rejected", 1, 422)] * 3
