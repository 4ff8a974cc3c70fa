"""The configuration is edited between two attempts of a batch: by a reload, or by a kill and a new start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.acceptance.harness import SECRET, Site, eventually, leading, webhook
from tests.acceptance.inbox import Arrival, Switch, receiving
from tests.acceptance.orders import ids_of, insert, letters, refusing
from tests.receivers import Received, Stream, answer

NEW_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RETRY = {"schedule": ["300ms"] * 99, "jitter": 0}
EARLIER = "SELECT json_array_length(earlier::json) FROM cdc_hooks.place WHERE name = %s"
"""How many other configurations had the claimed page before."""

DONE = "SELECT done FROM cdc_hooks.place WHERE name = %s"
"""How many batches of each lane of the claimed page are finished."""

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


@pytest.fixture(params=["reload", "kill"])
def editing(request: pytest.FixtureRequest, shop: Site) -> Iterator[Callable[[], Any]]:
    """A daemon that can be given another configuration of the webhook ``w``, in one of two ways."""

    @contextmanager
    def started(others: Mapping[str, Any] = MappingProxyType({})) -> Iterator[Edit]:
        with ExitStack() as stack:
            daemon = stack.enter_context(leading(shop))

            def edit(configured: dict[str, Any]) -> None:
                nonlocal daemon
                shop.configure({"w": configured, **others})
                if request.param == "reload":
                    daemon.reload()
                    daemon.until("reloading")
                else:
                    daemon.kill()
                    shop.let_the_lease_run_out()
                    daemon = stack.enter_context(leading(shop))

            yield edit

    return started


def verifies(arrival: Arrival, secret: str) -> bool:
    try:
        Webhook(secret).verify(arrival.body, dict(arrival.request.headers))
    except WebhookVerificationError:
        return False
    return True


def test_the_next_attempt_has_the_secrets_of_today(shop, editing):
    """With overlap, the old one first: the same id and the same bytes, signed with both."""
    sick = Switch(answer(503))
    with receiving(sick) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], retry=RETRY, breaker="off")})
        shop.apply()
        with editing() as edit:
            insert(shop, 1, 10)
            eventually(lambda: letters(shop), what="a failed attempt")
            edit(webhook(inbox.url, ["public.orders"], retry=RETRY, breaker="off") | {"secret": [SECRET, NEW_SECRET]})
            inbox.wait(lambda: verifies(inbox.arrivals[-1], NEW_SECRET))
            sick.turn()
            eventually(lambda: letters(shop) == [], what="a delivery")
    first, *_, last = inbox.arrivals
    assert (first.id, first.body) == (last.id, last.body)
    assert (verifies(first, SECRET), verifies(first, NEW_SECRET)) == (True, False)
    assert (verifies(last, SECRET), verifies(last, NEW_SECRET)) == (True, True)
    assert inbox.times.keys() == set(inbox.arrivals[0].events)


def test_a_secret_that_is_replaced_is_in_nothing_that_is_sent_or_kept(shop, editing):
    """The same id and items; the ``hmac`` in the body, also in the one that the ledger keeps, is of the new one."""
    with receiving(answer(503), secret=None) as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"], retry=RETRY, breaker="off")})
        shop.apply()
        with editing() as edit:
            insert(shop, 1, 10)
            eventually(lambda: letters(shop), what="a failed attempt")
            edit(webhook(inbox.url, ["public.orders"], retry=RETRY, breaker="off") | {"secret": NEW_SECRET})
            inbox.wait(lambda: verifies(inbox.arrivals[-1], NEW_SECRET))
            last = inbox.arrivals[-1]
            eventually(lambda: shop.value("SELECT body FROM cdc_hooks.delivery") == last.body, what="the body")
        first = inbox.arrivals[0]
        assert not verifies(last, SECRET)
        assert (first.id, first.items) == (last.id, last.items)
        assert first.request.json["hmac"] != last.request.json["hmac"]
        inbox.contradictions.clear()


def test_the_next_attempt_goes_to_the_url_of_today(shop, editing):
    with receiving(answer(404)) as old, receiving() as new:
        shop.configure({"w": webhook(old.url, ["public.orders"], retry=RETRY, breaker="off")})
        shop.apply()
        with editing() as edit:
            insert(shop, 1, 10)
            eventually(lambda: letters(shop), what="a failed attempt")
            edit(webhook(new.url, ["public.orders"], retry=RETRY, breaker="off"))
            new.until(10)
            insert(shop, 11, 11)
            new.until(11)
            query = (
                "SELECT e.url, d.attempts > 1"
                "  FROM cdc_hooks.delivery_log d JOIN cdc_hooks.endpoint e ON e.id = d.endpoint_id"
            )
            logged = eventually(lambda: len(rows := shop.execute(query)) == 2 and rows, what="the records")
    assert logged == [(new.url, True), (new.url, False)]
    assert {one.id for one in old.arrivals} == {new.arrivals[0].id}
    assert new.arrivals[0].body == old.arrivals[0].body
    assert new.duplicates() == 0


def test_another_batch_size_sends_nothing_again_that_got_through(shop, editing):
    """Each of the four lanes of a page has batches through when its last is refused: only the rest is shaped anew."""
    sick = set(range(81, 101))
    well: list[Received] = []

    async def behave(request: Received, stream: Stream) -> bool:
        if sick & ids_of(request):
            return await answer(503)(request, stream)
        well.append(request)
        return await answer()(request, stream)

    def configured(max_events: int) -> dict[str, Any]:
        options = {"retry": RETRY, "breaker": "off", "batch": {"max_events": max_events}}
        return webhook(inbox.url, ["public.orders"], **options)

    with receiving(behave) as inbox:
        shop.configure({"w": configured(10)})
        shop.apply()
        with editing() as edit:
            with shop.connect(autocommit=False) as writer:
                writer.execute("INSERT INTO orders SELECT n, 0 FROM generate_series(1, 100) AS n")
                writer.execute("UPDATE orders SET number = 1")
            eventually(lambda: len(letters(shop)) == 4, what="four lanes that wait")
            eventually(lambda: shop.value(DONE, "w") == [2, 2, 2, 1], what="the record of what got through")
            # The same once more: whoever begins again knows it, too. Then larger ones, of what both have left.
            for size, configurations in ((7, 1), (7, 1), (25, 2)):
                edit(configured(size))
                eventually(lambda n=configurations: shop.value(EARLIER, "w") == n, what="another claim")
                asked = len(inbox.arrivals)
                inbox.wait(lambda asked=asked: len(inbox.arrivals) > asked + 8)
                # Of what was to be sent otherwise, nothing waits in the ledger any more.
                waiting = {message for (message,) in shop.execute("SELECT message_id FROM cdc_hooks.delivery")}
                assert waiting <= {one.id for one in inbox.arrivals[asked:]}
            sick.clear()
            eventually(lambda: letters(shop) == [], what="nothing left in the ledger")
            insert(shop, 101, 101)
            inbox.until(201)
    sizes = [len(request.json["items"]) for request in well]
    assert (sizes[0], max(sizes)) == (10, 25)
    rows = defaultdict(list)
    for request in well:
        for item in request.json["items"]:
            rows[item["rowId"]].append((request.json["action"], item["data"]["number"]))
    assert rows.pop(101) == [("insert", 0)]
    assert rows == {row: [("insert", 0), ("update", 1)] for row in range(1, 101)}


def test_a_webhook_that_wants_no_fields_is_shaped_anew_too(shop, editing):
    with receiving(refusing({15}, 503)) as inbox, receiving() as other:

        def configured(max_events: int) -> dict[str, Any]:
            options = {"retry": RETRY, "breaker": "off", "batch": {"max_events": max_events}, "concurrency": 1}
            return webhook(inbox.url, {"public.orders": {"fields": []}}, **options)

        # A capture has at least one column, for somebody else.
        others = {"v": webhook(other.url, ["public.orders"])}
        shop.configure({"w": configured(5)} | others)
        shop.apply()
        with editing(others) as edit:
            insert(shop, 1, 20)
            eventually(lambda: letters(shop), what="one that waits")
            eventually(lambda: shop.value(DONE, "w") == [2], what="the record of what got through")
            edit(configured(4))
            eventually(lambda: shop.value(EARLIER, "w") == 1, what="another claim")
            inbox.then = answer()
            inbox.until(20)
            eventually(lambda: letters(shop) == [], what="nothing left in the ledger")
    # What got through before, the first two of five, did not come again.
    assert [inbox.times[event] for event in range(1, 11)] == [1] * 10
