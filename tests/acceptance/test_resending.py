"""``deliveries resend``: what is listed afterwards, and what becomes of it when the database goes away."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

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
            eventually(lambda: shop.value("SELECT count(*) FROM cdc_hooks.attempt") == 1, what="its attempt")
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


def through(shop: Site, url: str, port: int) -> None:
    """The commands reach the database by this port."""
    section = webhook(url, ["public.orders"], batch={"max_events": 1})
    shop.configure({"w": section}, dsn=shop.daemon_dsn(port=port))


@pytest.mark.parametrize("cut", [True, False])
def test_without_the_database_a_resend_ends_and_says_what_was_sent(shop, cut):
    port = int(conninfo_to_dict(shop.dsn)["port"])
    with receiving(answer(422)) as inbox, proxied(port) as proxy:
        with_letters(shop, inbox.url, 4)
        through(shop, inbox.url, proxy.port)

        async def lose_it(request: Received, stream: Stream) -> bool:
            """When the second one is sent, by the network or by the server's hand."""
            if len(inbox.arrivals) == 4 + 2 and cut:
                proxy.cut(stay_down=True)
            elif len(inbox.arrivals) == 4 + 2:
                shop.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cdc-hooks'"
                )
            return await answer()(request, stream)

        inbox.then = lose_it
        done = shop.run("deliveries", "resend", "--webhook", "w", "--yes")
        assert len(inbox.arrivals) == 4 + 2
        assert done.returncode == 1, done.stderr
        first, *rest = done.stdout.splitlines()
        assert "delivered, answered 200" in first
        assert rest == ["1 delivered, 1 not recorded, 2 not tried."]
        number = int(first.partition(":")[0]) + 1
        assert done.stderr.startswith("the database was lost: ")
        assert f"{number} was sent (delivered, answered 200, " in done.stderr
        assert "that is not recorded: it would be sent again" in done.stderr
        assert done.stderr.count("\n") == 2
        assert letters(shop) == [("rejected", 1, 422)] * 3


def test_what_was_not_sent_when_the_database_went_away_is_not_said_to_be(shop):
    port = int(conninfo_to_dict(shop.dsn)["port"])
    with receiving(answer(422)) as inbox, proxied(port) as proxy, ThreadPoolExecutor() as pool:
        with_letters(shop, inbox.url, 4)
        through(shop, inbox.url, proxy.port)
        inbox.then = answer()
        command = pool.submit(shop.run, "deliveries", "resend", "--webhook", "w", "--yes", "--rate", "0.5")
        eventually(lambda: letters(shop) == [("rejected", 1, 422)] * 3, what="the first resend")
        proxy.cut(stay_down=True)
        done = command.result()
        assert done.returncode == 1
        assert done.stdout.splitlines()[1:] == ["1 delivered, 3 not tried."]
        assert "was sent" not in done.stderr
        assert len(inbox.arrivals) == 4 + 1
