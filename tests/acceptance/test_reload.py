"""SIGHUP: the new configuration, or the old one and why."""

from __future__ import annotations

from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from tests.acceptance.harness import SECRET, Site, eventually, leading, webhook
from tests.acceptance.inbox import Gate, late, receiving

NEW_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return site


def test_a_webhook_is_added_and_taken_away(shop):
    with receiving() as old, receiving() as new:
        first = {"old": webhook(old.url, ["public.orders"])}
        both = {**first, "new": webhook(new.url, ["public.orders"])}
        shop.configure(first)
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders VALUES (1)")
            old.until(1)
            shop.configure(both)
            daemon.reload()
            eventually(lambda: shop.webhook_status("new")["state"] == "active", what="the new webhook")
            shop.execute("INSERT INTO orders VALUES (2)")
            old.until(2)
            new.until(1)
            shop.configure({"new": both["new"]})
            seen = len(daemon.log)
            daemon.reload()
            daemon.until("reloading", after=seen)
            retired = "SELECT state FROM cdc_hooks.webhook WHERE name = 'old'"
            eventually(lambda: shop.value(retired) == "retired", what="the end of the old webhook")
            shop.execute("INSERT INTO orders VALUES (3)")
            new.until(2)
    assert old.values("id") == [1, 2]
    assert new.values("id") == [2, 3]


def test_a_change_is_not_left_lying_while_a_webhook_is_added(shop):
    """For the new one a tick is made. What it ends belongs to those who wait, too."""
    shop.execute("CREATE TABLE customers (id int PRIMARY KEY)")
    with receiving() as old, receiving() as new:
        first = {"old": webhook(old.url, ["public.orders"])}
        both = {**first, "new": webhook(new.url, ["public.customers"])}
        shop.configure(both)
        shop.apply()
        shop.configure(first)
        with leading(shop) as daemon:
            eventually(lambda: shop.value("SELECT last_value > 0 FROM cdc_hooks.doorbell"), what="sleep")
            shop.configure(both)
            held = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'cdc_hooks.tick'::regclass"
            with shop.connect(autocommit=False) as locker:
                locker.execute("LOCK TABLE cdc_hooks.tick IN ACCESS EXCLUSIVE MODE")
                daemon.reload()
                eventually(lambda: shop.value(held) > 0, what="the tick for the new webhook")
                shop.execute("INSERT INTO orders VALUES (1)")
            old.until(1)
    assert old.values("id") == [1]


@pytest.mark.parametrize(
    "change",
    [{"headers": {"X-Source": "shop"}}, {"batch": {"max_events": 15}}],
    ids=["another header", "other batches"],
)
def test_a_reload_loses_and_repeats_nothing(shop, change):
    """In the middle of a page of many batches, also where the next ones are to be shaped otherwise."""
    with receiving(late(0.02)) as inbox:
        before = {"batch": {"max_events": 10}}
        shop.configure({"w": webhook(inbox.url, ["public.orders"], **before)})
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders SELECT n FROM generate_series(1, 1500) n")
            inbox.until(400)
            shop.configure({"w": webhook(inbox.url, ["public.orders"], **(before | change))})
            daemon.reload()
            daemon.until("reloaded", webhook="w")
            inbox.until(1500)
            shop.execute("INSERT INTO orders SELECT n FROM generate_series(1501, 1530) n")
            inbox.until(1530)
    new = inbox.arrivals[-1]
    assert new.request.header("x-source") == "shop" or len(new.events) == 15
    assert inbox.duplicates() == 0


def test_larger_batches_do_not_wait_until_a_page_has_gone_in_small_ones(shop):
    gate = Gate()
    with receiving(gate) as inbox, receiving() as other:

        def configured(max_events: int) -> dict[str, Any]:
            return webhook(inbox.url, ["public.orders"], batch={"max_events": max_events}, concurrency=1)

        shop.configure({"w": configured(1)})
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders SELECT n FROM generate_series(1, 31) n")
            inbox.until(1)
            # Another one, in whose turn it is known to have been told.
            shop.configure({"w": configured(10), "another": webhook(other.url, ["public.orders"])})
            daemon.reload()
            eventually(lambda: shop.webhook_status("another")["state"] == "active", what="the other webhook")
            gate.open()
            inbox.until(31)
    assert [len(one.events) for one in inbox.arrivals] == [1, 10, 10, 10]


def test_a_reload_leaves_alone_what_it_does_not_change(shop):
    """The slow webhook's request is neither waited for nor cut off, also not by a second reload."""
    gate = Gate()
    with receiving(gate) as slow, receiving() as quick:
        webhooks = {"slow": webhook(slow.url, ["public.orders"]), "quick": webhook(quick.url, ["public.orders"])}
        shop.configure(webhooks)
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders VALUES (1)")
            slow.wait(lambda: slow.in_flight == 1)
            for n in (2, 3):
                webhooks["quick"]["headers"] = {"X-Source": f"shop {n}"}
                shop.configure(webhooks)
                daemon.reload()
                wanted = f"shop {n}"
                while not quick.arrivals or quick.arrivals[-1].request.header("x-source") != wanted:
                    before = len(quick.arrivals)
                    shop.execute("INSERT INTO orders SELECT count(*) + 1 FROM orders")
                    quick.wait(lambda before=before: len(quick.arrivals) > before)
            assert slow.in_flight == 1
            gate.open()
            slow.until(shop.value("SELECT count(*) FROM orders"))
    assert slow.duplicates() == quick.duplicates() == 0


MISTAKES = {
    "an unknown section": (lambda text: text + "\nwebhoks: {}\n", "webhoks"),
    "an unknown key": (lambda text: text.replace("secret:", "secrt:"), "secrt"),
    "a short secret": (lambda text: text.replace(SECRET, "hunter2"), "secret"),
    "another database": (lambda text: text.replace("cdc_hooks_daemon", "somebody_else"), "database"),
    "no column": (
        lambda text: text.replace("- public.orders", "  public.orders: {fields: []}"),
        "no webhook wants a column of this table",
    ),
    "no YAML": (lambda _text: "\nwebhooks: [", "config.yaml:2: not YAML"),
}


def test_a_bad_file_keeps_the_old_one_running(shop):
    with receiving() as inbox:
        path = shop.configure({"w": webhook(inbox.url, ["public.orders"])})
        good = path.read_text()
        shop.apply()
        with leading(shop) as daemon:
            for number, (name, (change, says)) in enumerate(MISTAKES.items(), 1):
                path.write_text(change(good))
                seen = len(daemon.log)
                daemon.reload()
                refused = daemon.until("reload_refused", after=seen)
                assert refused["level"] == "error", name
                assert says in refused["error"], name
                assert "hunter2" not in str(refused)
                shop.execute("INSERT INTO orders VALUES (%s)", number)
                inbox.until(number)
            assert not daemon.events("reloading")


def test_a_secret_is_rotated(shop):
    def signatures() -> list[str]:
        return (inbox.arrivals[-1].request.header("webhook-signature") or "").split(" ")

    def verifies(secret: str) -> bool:
        request = inbox.arrivals[-1].request
        return bool(Webhook(secret).verify(request.body, dict(request.headers)))

    with receiving() as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"])})
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders VALUES (1)")
            inbox.until(1)
            assert len(signatures()) == 1
            shop.configure({"w": webhook(inbox.url, ["public.orders"]) | {"secret": [NEW_SECRET, SECRET]}})
            daemon.reload()
            daemon.until("reloaded", webhook="w")
            shop.execute("INSERT INTO orders VALUES (2)")
            inbox.until(2)
            assert len(signatures()) == 2
            assert verifies(SECRET)
            assert verifies(NEW_SECRET)
    assert inbox.duplicates() == 0
