"""``status --watch`` on a terminal."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.harness import Site, leading, webhook
from tests.acceptance.inbox import receiving
from tests.acceptance.terminal import terminal


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return site


def test_it_shows_webhooks_with_graphs_until_it_is_interrupted(shop):
    with receiving() as inbox:
        shop.configure({"order-sync": webhook(inbox.url, ["public.orders"])})
        shop.apply()
        with leading(shop), terminal(shop, "status", "--watch", "--every", "0.2") as (process, until):
            until("changes/s")
            until("order-sync")
            shop.execute("INSERT INTO orders SELECT generate_series(1, 500)")
            inbox.until(500)
            until("█")
            shop.execute(
                "UPDATE cdc_hooks.webhook SET paused_at = now(), paused_by = 'operator', paused_why = 'a move'"
            )
            until("a move")
            shop.execute("ALTER TABLE orders DISABLE TRIGGER ALL")
            until("capture: public.orders: trigger 00_cdc_hooks_insert on public.orders is disabled")
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"COLUMNS": "40"},
        {"TERM": "dumb", "COLUMNS": "40"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=" ".join,
)
def test_it_makes_do_with_a_poor_terminal(shop, changes):
    shop.configure({"order-sync": webhook("https://a.example/", ["public.orders"])})
    shop.apply()
    with terminal(shop, "status", "--watch", "--every", "0.2", **changes) as (process, until):
        until("order-sync")
        shown = until("daemon: none runs")
        assert "Traceback" not in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_what_a_terminal_cannot_show_is_written_as_in_python(shop):
    shop.configure({"order-sync": webhook("https://1.1.1.1/", ["public.orders"])})
    shop.apply()
    with leading(shop):
        assert shop.run("pause", "order-sync", "--reason", "Köln").returncode == 0
    for watch in ([], ["--watch"]):
        with terminal(shop, "status", *watch, PYTHONIOENCODING="ascii") as (_, until):
            assert "Traceback" not in until("K\\xf6ln")


def test_a_database_that_is_down_is_said_and_asked_again(shop):
    shop.configure({"w": webhook("https://a.example/", ["public.orders"])}, dsn="host=127.0.0.1 port=1 dbname=shop")
    with terminal(shop, "status", "--watch") as (process, until):
        until("asked again in")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_without_a_terminal_there_is_nothing_to_watch(shop):
    shop.configure({"w": webhook("https://a.example/", ["public.orders"])})
    done = shop.run("status", "--watch")
    assert done.returncode == 2
    assert "--watch wants a terminal" in done.stderr
