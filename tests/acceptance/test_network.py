"""The running daemon goes nowhere but where it may, says why, and what to do."""

from __future__ import annotations

import pytest

from tests.acceptance.harness import Site, eventually, leading, own_port, webhook
from tests.acceptance.inbox import receiving

QUICK = {"retry": {"schedule": ["100ms"] * 900, "jitter": 0}, "breaker": "off"}


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return site


def network(*allow: str) -> dict:
    return {"allow_http": True, "allow": list(allow)}


def write_until(shop: Site, condition, what: str) -> None:
    """Changes go on meanwhile: what is on its way when the daemon is told to reload may still go the old way."""

    def written() -> bool:
        shop.execute("INSERT INTO orders SELECT coalesce(max(id), 0) + 1 FROM orders")
        return condition()

    eventually(written, what=what)


def test_what_is_not_allowed_gets_no_connection_until_it_is(shop):
    with receiving() as inbox:
        webhooks = {"w": webhook(inbox.url, ["public.orders"], **QUICK)}
        shop.configure(webhooks, network=network("10.0.0.0/8"))
        shop.apply()
        checked = shop.run("check")
        assert checked.returncode == 1
        assert "webhook w" in checked.stdout
        assert "requests will be refused: 127.0.0.1 is loopback (127.0.0.0/8)" in checked.stdout
        assert 'hint: if it is meant, write network: {allow: ["127.0.0.1"]}' in checked.stdout
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders VALUES (1)")
            failed = daemon.until("attempt_failed")
            assert failed["error"] == (
                "refused: 127.0.0.1 is loopback (127.0.0.0/8); nothing was sent; "
                "if that is where it should go, allow it in network.allow"
            )
            eventually(lambda: failed["error"] in shop.webhook_status("w")["summary"], what="the reason in status")
            assert daemon.metric("cdc_hooks_attempts_total", webhook="w", outcome="forbidden") >= 1
            assert inbox.receiver.connections == 0
            # The webhook itself stays as it is: what is around it changes.
            shop.configure(webhooks, network=network("10.0.0.0/8", "127.0.0.1"))
            daemon.reload()
            inbox.until(1)
            assert inbox.receiver.connections == 1
            shop.configure(webhooks, network=network())
            seen = len(daemon.log)
            daemon.reload()
            daemon.until("reloading", after=seen)
            write_until(shop, lambda: daemon.events("attempt_failed", after=seen), "the refusal")
            assert inbox.receiver.connections == 1
        assert shop.run("check").returncode == 1
        shop.configure(webhooks, network=network("127.0.0.0/8"))
        assert shop.run("check").returncode == 0
    assert inbox.duplicates() == 0


def test_our_own_port_is_refused_although_its_address_is_allowed(shop):
    shop.configure({"w": webhook("https://receiver.example", ["public.orders"])})
    listen = shop.path.read_text().split("listen: ")[1].split()[0]
    shop.configure({"w": webhook(f"http://{listen}/metrics", ["public.orders"], **QUICK)})
    shop.apply()
    with leading(shop) as daemon:
        shop.execute("INSERT INTO orders VALUES (1)")
        assert "where cdc-hooks itself listens (metrics.listen)" in daemon.until("attempt_failed")["error"]


def test_through_a_proxy(shop):
    """To a name that only the proxy knows; then straight, by a reload of the webhook."""
    with receiving() as proxy, receiving() as straight:
        section = {**network("127.0.0.0/8"), "proxy": f"http://127.0.0.1:{proxy.receiver.port}"}
        shop.configure({"w": webhook("http://receiver.invalid/hook", ["public.orders"], **QUICK)}, network=section)
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders VALUES (1)")
            proxy.until(1)
            assert proxy.arrivals[0].request.target == "http://receiver.invalid/hook"
            own = webhook(straight.url, ["public.orders"], proxy="none", **QUICK)
            shop.configure({"w": own}, network=section)
            daemon.reload()
            daemon.until("reloading")
            write_until(shop, lambda: straight.arrivals, "the straight way")
            assert straight.arrivals[0].request.target == "/hook"


def test_a_proxys_failures_are_not_charged_to_the_endpoint(shop):
    """However many there are: no breaker opens, and nothing is given up on."""
    breaker = {"failures": 2, "pause": "1h", "longest_pause": "1h"}
    options = {"retry": {"schedule": ["20ms"], "jitter": 0}, "breaker": breaker}
    with receiving() as inbox:
        section = {**network("127.0.0.0/8"), "proxy": f"http://127.0.0.1:{own_port()}"}
        shop.configure({"w": webhook(inbox.url, ["public.orders"], **options)}, network=section)
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders VALUES (1)")
            failed = daemon.until("attempt_failed", attempt=8)
            assert failed["error"].startswith("proxy: ")
            assert daemon.metric("cdc_hooks_attempts_total", webhook="w", outcome="proxy") >= 8
            assert daemon.metric("cdc_hooks_webhook_state", webhook="w", state="retrying") == 1
            assert shop.execute("SELECT DISTINCT state, counted FROM cdc_hooks.delivery") == [("pending", 0)]
            shop.configure({"w": webhook(inbox.url, ["public.orders"], proxy="none", **options)}, network=section)
            daemon.reload()
            inbox.until(1)
