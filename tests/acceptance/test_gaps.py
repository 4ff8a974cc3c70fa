"""A range that a webhook did not get is never passed over in silence: its receiver is told, before what comes after."""

from __future__ import annotations

import json

from standardwebhooks.webhooks import Webhook

from tests.acceptance.harness import SECRET, Daemon, Site, eventually, webhook
from tests.receivers import receiver_in_thread

TABLE = "CREATE TABLE public.orders (id integer PRIMARY KEY, status text)"


def test_the_receiver_is_told_of_a_gap_once_and_first(site: Site) -> None:
    site.execute(TABLE)
    with receiver_in_thread(secret=SECRET) as receiver:
        site.configure({"order-sync": webhook(receiver.url, ["public.orders"])})
        site.apply()
        with Daemon(site) as daemon:
            daemon.until("leading")
            daemon.terminate()
            assert daemon.wait() == 0
        site.execute(
            "INSERT INTO cdc_hooks.gap (webhook_id, after_id, upto_id, reason)"
            " SELECT id, 100, 250, 'the change log had reached its disk budget' FROM cdc_hooks.webhook"
        )
        site.execute("INSERT INTO public.orders VALUES (1, 'open')")
        for _ in range(2):  # a restart does not tell it again
            with Daemon(site) as daemon:
                daemon.until("leading")
                eventually(lambda: len(receiver.requests) >= 2, what="two requests")
                daemon.terminate()
                assert daemon.wait() == 0
        told, change = receiver.requests
        Webhook(SECRET).verify(told.body, dict(told.headers))
        said = json.loads(told.body)
        assert said["action"] == "gap"
        assert said["items"] == []
        assert said["gap"] == {
            "firstEventId": "1-101",
            "lastEventId": "1-250",
            "reason": "the change log had reached its disk budget",
        }
        assert json.loads(change.body)["action"] == "insert"
        assert site.webhook_status("order-sync")["gaps"] == 1
