"""The running daemon tells somebody: an event to an endpoint, mail to people, one of each cause in an interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme

from cdc_hooks.changelog.window import SEGMENT_BITS
from tests.acceptance.harness import SECRET, Daemon, Site, eventually, leading, webhook
from tests.acceptance.inbox import Switch
from tests.mail_server import mail_server
from tests.receivers import Received, Receiver, answer, hang, receiver_in_thread

OPS_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FAILING = {"retry": {"schedule": []}, "breaker": "off"}
PASSWORD = "correct horse battery"
DEAD = "cdc_hooks.webhook.dead_letter"


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return site


def to(ops: Receiver, **keys: Any) -> dict[str, Any]:
    return {"webhook": {"url": ops.url, "secret": OPS_SECRET}, **keys}


def by_mail(port: int, **keys: Any) -> dict[str, Any]:
    from_to = {"from": "cdc-hooks@shop.example", "to": ["ops@shop.example"]}
    return {"email": {"host": "localhost", "port": port, "tls": "none", **from_to, **keys}}


def dead_letters(shop: Site, count: int) -> None:
    """As many as there are rows: each in a request of its own, which is refused."""
    for _ in range(count):
        before = shop.value("SELECT count(*) FROM orders")
        shop.execute("INSERT INTO orders VALUES (%s)", before)
        eventually(lambda before=before: shop.webhook_status("w")["dead_letters"] > before, what="a dead letter")


def of_type(ops: Receiver, kind: str) -> list[Received]:
    return [request for request in list(ops.requests) if request.json["type"] == kind]


def test_a_dead_letter_is_told_in_both_ways_and_what_comes_within_the_interval_is_counted(
    shop: Site, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with (
        receiver_in_thread(secret=SECRET, then=answer(500)) as broken,
        receiver_in_thread(secret=OPS_SECRET) as ops,
        mail_server(authority=authority, login=("cdc", PASSWORD)) as box,
    ):
        email = by_mail(box.port, tls="starttls", ca_file="ca.pem", user="cdc", password=PASSWORD)
        shop.configure({"w": webhook(broken.url, ["public.orders"], **FAILING)}, notify=to(ops, **email, interval="3s"))
        shop.apply()
        with leading(shop) as daemon:
            dead_letters(shop, 4)
            ops.wait(lambda: sum(1 + one.json["data"]["repeated"] for one in of_type(ops, DEAD)) == 4)
            box.wait(lambda: len(box.mails) > 0)
            daemon.until("notice_sent", channel="email")
            # Counted when the answer is here, which is after the request.
            eventually(
                lambda: (
                    daemon.metric("cdc_hooks_notices_total", channel="webhook", outcome="sent") == len(ops.requests)
                ),
                what="the count of what was sent",
            )
            assert daemon.metric("cdc_hooks_notices_total", channel="email", outcome="sent") >= 1
            assert PASSWORD not in str(daemon.log)
    assert not ops.rejected
    first, *others = of_type(ops, DEAD)
    said = first.json
    assert first.header("webhook-id") == said["id"]
    assert said["id"].startswith("msg_")
    assert said["data"]["webhook"] == "w"
    assert "public.orders is a dead letter now: " in said["data"]["what"]
    assert "cdc-hooks deliveries" in said["data"]["hint"]
    assert said["data"]["host"]
    assert said["data"]["repeated"] == 0
    assert said["data"]["since"] is None
    assert others
    assert len({request.json["id"] for request in ops.requests}) == len(ops.requests)
    assert box.mails[0]["Subject"].startswith("[cdc-hooks] w has a dead letter")
    assert box.encrypted[0]


def test_the_patient_preset_tells_of_letters_and_of_the_pause_once_in_an_interval(shop: Site) -> None:
    """Ten deliveries in a row that are given up on after six attempts each; its hours are milliseconds here."""
    with (
        receiver_in_thread(secret=SECRET, then=answer(500)) as broken,
        receiver_in_thread(secret=OPS_SECRET) as ops,
        mail_server() as box,
    ):
        soon = {"schedule": ["5ms"] * 5, "jitter": 0}
        options = {"preset": "patient", "retry": soon, "batch": {"max_events": 1}, "concurrency": 1}
        shop.configure({"w": webhook(broken.url, ["public.orders"], **options)}, notify=to(ops, **by_mail(box.port)))
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders SELECT generate_series(1, 12)")
            assert daemon.until("paused")["reason"] == "10 deliveries in a row were given up on"
            ops.wait(lambda: len(ops.requests) == 2)
            box.wait(lambda: "w is paused" in "".join(mail.get_content() for mail in box.mails))
            daemon.terminate()
            assert daemon.wait() == 0
    assert len(broken.requests) == 10 * 6
    assert [one.json["type"] for one in ops.requests] == [DEAD, "cdc_hooks.webhook.paused"]
    mailed = [line for mail in box.mails for line in mail.get_content().splitlines() if line.startswith("w ")]
    assert mailed == ["w has a dead letter", "w is paused"]


def test_an_event_is_sent_again_with_the_same_id(shop: Site) -> None:
    with (
        receiver_in_thread(secret=SECRET, then=answer(500)) as broken,
        receiver_in_thread(secret=OPS_SECRET, next_answers=[answer(503)]) as ops,
    ):
        shop.configure({"w": webhook(broken.url, ["public.orders"], **FAILING)}, notify=to(ops))
        shop.apply()
        with leading(shop) as daemon:
            dead_letters(shop, 1)
            ops.wait(lambda: len(ops.requests) == 2)
            daemon.until("notice_sent")
            assert daemon.events("notice_retried")[0]["error"] == "answered 503"
    first, again = ops.requests
    assert first.body == again.body
    assert first.header("webhook-id") == again.header("webhook-id")


def test_the_limit_outlasts_a_term_and_a_reload(shop: Site) -> None:
    """The connections are lost, and another begins; a second dead letter of the same webhook is only counted."""
    with (
        receiver_in_thread(secret=SECRET, then=answer(500)) as broken,
        receiver_in_thread(secret=OPS_SECRET) as old,
        receiver_in_thread(secret=OPS_SECRET) as new,
    ):
        webhooks = {"w": webhook(broken.url, ["public.orders"], **FAILING)}
        shop.configure(webhooks, notify=to(old))
        shop.apply()
        with leading(shop) as daemon:
            dead_letters(shop, 1)
            old.wait(lambda: len(old.requests) == 1)
            seen = len(daemon.log)
            shop.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            daemon.until("leading", after=seen)
            dead_letters(shop, 1)
            shop.configure(webhooks | {"x": webhook(broken.url, ["public.orders"], **FAILING)}, notify=to(new))
            daemon.reload()
            daemon.until("reloading")
            eventually(lambda: shop.webhook_status("x")["state"] == "active", what="the new webhook")
            dead_letters(shop, 1)
            new.wait(lambda: len(new.requests) == 1)
            daemon.terminate()
            assert daemon.wait() == 0
    assert len(old.requests) == 1
    assert [request.json["data"]["webhook"] for request in new.requests] == ["x"]


def test_only_what_is_wanted_is_told(shop: Site) -> None:
    with (
        receiver_in_thread(secret=SECRET, then=answer(500)) as broken,
        receiver_in_thread(secret=OPS_SECRET) as ops,
    ):
        shop.configure(
            {"w": webhook(broken.url, ["public.orders"], **FAILING)}, notify=to(ops, on=["paused", "capture"])
        )
        shop.apply()
        with leading(shop) as daemon:
            dead_letters(shop, 1)
            daemon.terminate()
            assert daemon.wait() == 0
    assert not ops.requests


def test_a_mail_server_and_an_endpoint_that_hang_are_in_nobodys_way(shop: Site) -> None:
    """Nor in that of the daemon's end."""
    with (
        receiver_in_thread(secret=SECRET, next_answers=[answer(500)]) as receiver,
        receiver_in_thread(secret=OPS_SECRET, then=hang()) as ops,
        receiver_in_thread() as silent,  # speaks HTTP, if spoken to: who waits for its greeting waits for ever
    ):
        shop.configure(
            {"w": webhook(receiver.url, ["public.orders"], **FAILING)}, notify=to(ops, **by_mail(silent.port))
        )
        shop.apply()
        with leading(shop) as daemon:
            dead_letters(shop, 1)
            ops.wait(lambda: len(ops.requests) == 1)
            for number in range(10, 60):
                shop.execute("INSERT INTO orders VALUES (%s)", number)
            receiver.wait(lambda: sum(one.json["eventCount"] for one in list(receiver.requests)[1:]) == 50)
            daemon.terminate()
            assert daemon.wait() == 0
            assert daemon.events("notices_unsent", webhook=1, email=1)


def test_mail_that_is_refused_is_logged_and_counted(shop: Site) -> None:
    with (
        receiver_in_thread(secret=SECRET, then=answer(500)) as broken,
        receiver_in_thread(secret=OPS_SECRET) as ops,
        mail_server(refused={"ops@shop.example"}) as box,
    ):
        shop.configure({"w": webhook(broken.url, ["public.orders"], **FAILING)}, notify=to(ops, **by_mail(box.port)))
        shop.apply()
        with leading(shop) as daemon:
            dead_letters(shop, 1)
            ops.wait(lambda: len(ops.requests) == 1)
            failed = daemon.until("notice_failed", channel="email")
            assert "ops@shop.example was refused: 550" in failed["error"]
            assert daemon.metric("cdc_hooks_notices_total", channel="email", outcome="failed") == 1


def test_a_capture_that_is_not_as_configured(shop: Site) -> None:
    with receiver_in_thread(secret=SECRET) as receiver, receiver_in_thread(secret=OPS_SECRET) as ops:
        shop.configure({"w": webhook(receiver.url, ["public.orders"])}, notify=to(ops))
        shop.apply()
        shop.execute("ALTER TABLE orders DISABLE TRIGGER ALL")
        with leading(shop):
            ops.wait(lambda: len(ops.requests) == 1)
    said = ops.requests[0].json
    assert said["type"] == "cdc_hooks.capture.faulty"
    assert "public.orders: " in said["data"]["what"]
    assert "cdc-hooks apply" in said["data"]["hint"]


def test_a_gap(shop: Site) -> None:
    with receiver_in_thread(secret=SECRET) as receiver, receiver_in_thread(secret=OPS_SECRET) as ops:
        shop.configure({"w": webhook(receiver.url, ["public.orders"])}, notify=to(ops))
        shop.apply()
        with Daemon(shop) as daemon:
            daemon.until("leading")
            daemon.terminate()
            assert daemon.wait() == 0
        shop.execute(
            "INSERT INTO cdc_hooks.gap (webhook_id, after_id, upto_id, reason)"
            " SELECT id, 100, 250, 'the change log had reached its disk budget' FROM cdc_hooks.webhook"
        )
        with leading(shop):
            ops.wait(lambda: len(ops.requests) == 1)
    said = ops.requests[0].json
    assert said["type"] == "cdc_hooks.webhook.gap"
    assert said["data"]["webhook"] == "w"
    assert "after 100 up to 250" in said["data"]["what"]


def fill(shop: Site, megabytes: int) -> None:
    """Rows of a little less than a megabyte each, which cannot be compressed."""
    shop.execute(
        "INSERT INTO files SELECT n, (SELECT string_agg(md5(n::text || m::text), '')"
        " FROM generate_series(1, 28000) m) FROM generate_series(1, %s) n",
        megabytes,
    )


def test_history_goes_before_anybody_is_alarmed(shop: Site) -> None:
    shop.execute("CREATE TABLE files (id int PRIMARY KEY, content text)")
    with receiver_in_thread(secret=SECRET) as receiver, receiver_in_thread(secret=OPS_SECRET) as ops:
        shop.configure(
            {"w": webhook(receiver.url, ["public.files"])},  # it begins after what is in the log
            notify=to(ops),
            change_log={"max_bytes": "64MiB", "when_full": "drop_oldest"},
        )
        shop.apply()
        fill(shop, 80)
        shop.execute("SELECT setval('cdc_hooks.change_id', %s)", 3 << SEGMENT_BITS)
        with leading(shop) as daemon:
            daemon.until("history_cut")
            eventually(lambda: 0 < daemon.metric("cdc_hooks_change_log_bytes") < 64 << 20)
            assert daemon.metric("cdc_hooks_change_log_dropped_total") == 0
            assert not daemon.events("log_dropped")
            assert shop.webhook_status("w")["gaps"] == 0
    assert ops.requests == []


@pytest.mark.parametrize(
    ("rows", "when_full", "kind", "says"),
    [
        pytest.param(66, "hold", "disk_budget", "of 64MiB on disk", id="near"),
        pytest.param(80, "hold", "disk_full", "of 64MiB on disk; nothing is dropped", id="above"),
        pytest.param(80, "drop_oldest", "disk_full", "its oldest part was dropped", id="dropped"),
    ],
)
def test_the_disk_budget(shop: Site, rows: int, when_full: str, kind: str, says: str) -> None:
    shop.execute("CREATE TABLE files (id int PRIMARY KEY, content text)")
    sick = answer(503)
    with receiver_in_thread(secret=SECRET, then=sick) as receiver, receiver_in_thread(secret=OPS_SECRET) as ops:
        shop.configure(
            {"w": webhook(receiver.url, ["public.files"])},
            notify=to(ops),
            change_log={"max_bytes": "64MiB", "when_full": when_full},
        )
        shop.apply()
        with leading(shop) as daemon:
            daemon.terminate()
            assert daemon.wait() == 0
        # It stays behind, and reads nothing, which would keep what it reads from being dropped.
        shop.execute(
            "INSERT INTO cdc_hooks.gap (webhook_id, after_id, upto_id, reason)"
            " SELECT id, 100, 250, 'to be told first' FROM cdc_hooks.webhook"
        )
        fill(shop, rows)
        if when_full == "drop_oldest":  # all but what is being written to
            shop.execute("SELECT setval('cdc_hooks.change_id', %s)", 3 << SEGMENT_BITS)
        with leading(shop) as daemon:
            ops.wait(lambda: len(of_type(ops, f"cdc_hooks.change_log.{kind}")) == 1)
            assert daemon.metric("cdc_hooks_change_log_dropped_total") == (when_full == "drop_oldest")
    (told,) = [one.json for one in ops.requests if one.json["type"].startswith("cdc_hooks.change_log.")]
    assert says in told["data"]["what"]


def test_a_trial_says_what_was_answered(shop: Site) -> None:
    with receiver_in_thread(secret=OPS_SECRET) as ops, mail_server() as box:
        shop.configure({"w": webhook("http://127.0.0.1:1/", ["public.orders"])}, notify=to(ops, **by_mail(box.port)))
        tried = shop.run("notify", "test")
        assert tried.returncode == 0, tried.stderr
    assert "answered 200" in tried.stdout
    assert "queued as 4711" in tried.stdout
    assert ops.requests[0].verified
    assert ops.requests[0].json["type"] == "cdc_hooks.test"
    assert box.mails[0]["Subject"] == "[cdc-hooks] test"
    assert "Traceback" not in tried.stderr


def test_a_trial_that_fails(shop: Site) -> None:
    with (
        receiver_in_thread(secret=OPS_SECRET, then=answer(403, b"who are you?\r\nX: y")) as ops,
        mail_server(refused={"ops@shop.example"}) as box,
    ):
        hook = {"w": webhook("http://127.0.0.1:1/", ["public.orders"])}
        shop.configure(hook, notify=to(ops, **by_mail(box.port)))
        tried = shop.run("notify", "test")
        assert tried.returncode == 1
        assert "answered 403: who are you?" in tried.stdout
        assert "ops@shop.example was refused: 550" in tried.stdout
        shop.configure(hook)
        nobody = shop.run("notify", "test")
        assert nobody.returncode == 2
        assert "notify has neither webhook nor email" in nobody.stderr


@pytest.mark.parametrize(
    ("trouble", "kind", "says"),
    [
        (answer(410), "cdc_hooks.webhook.paused", "answered 410"),
        (answer(503), "cdc_hooks.webhook.sick", "answered 503"),
    ],
)
def test_trouble_and_its_end(shop: Site, trouble: Any, kind: str, says: str) -> None:
    switch = Switch(trouble)
    breaker = {"failures": 2, "pause": "50ms", "longest_pause": "50ms"}
    with receiver_in_thread(secret=SECRET, then=switch) as endpoint, receiver_in_thread(secret=OPS_SECRET) as ops:
        retry = {"schedule": ["20ms"] * 9}
        shop.configure(
            {"w": webhook(endpoint.url, ["public.orders"], retry=retry, breaker=breaker)}, notify=to(ops, interval="1h")
        )
        shop.apply()
        with leading(shop) as daemon:
            shop.execute("INSERT INTO orders VALUES (1)")
            ops.wait(lambda: bool(of_type(ops, kind)))
            switch.turn()
            if kind.endswith("paused"):
                assert shop.run("resume", "w").returncode == 0
            ops.wait(lambda: bool(of_type(ops, "cdc_hooks.webhook.recovered")))
            eventually(lambda: daemon.metric("cdc_hooks_changes_delivered_total") == 1)
    assert says in of_type(ops, kind)[0].json["data"]["what"]
    assert [one.json["type"] for one in ops.requests] == [kind, "cdc_hooks.webhook.recovered"]
