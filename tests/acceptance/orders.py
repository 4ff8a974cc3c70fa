"""What the tests of the policy share: orders, receivers that refuse some of them, and what became of it."""

from __future__ import annotations

from typing import Any

from tests.acceptance.harness import Site, webhook
from tests.acceptance.inbox import Inbox
from tests.receivers import Behaviour, Received, Stream, answer

SOON = {"schedule": ["20ms"] * 4, "jitter": 0}
NERVOUS = {"failures": 3, "pause": "100ms", "longest_pause": "200ms"}
STEADY = {"failures": 1000}


def prepare(shop: Site, url: str, **options: Any) -> None:
    """One webhook, ``w``, for all changes of orders."""
    shop.configure({"w": webhook(url, ["public.orders"], **{"retry": SOON, **options})})
    shop.apply()


def insert(shop: Site, first: int, last: int) -> None:
    shop.execute("INSERT INTO orders SELECT n, 0 FROM generate_series(%s::int, %s::int) AS n", first, last)


def ids_of(request: Received) -> set[int]:
    return {item["rowId"] for item in request.json["items"]}


def refusing(rows: set[int], status: int) -> Behaviour:
    """Answers with this status whatever has one of these rows in it."""

    async def behave(request: Received, stream: Stream) -> bool:
        return await answer(status if rows & ids_of(request) else 200)(request, stream)

    return behave


def accepted(inbox: Inbox, refused: set[int]) -> list[int]:
    """The rows of the requests that were accepted, in order."""
    return [item["rowId"] for one in inbox.arrivals if not refused & ids_of(one.request) for item in one.items]


def letters(shop: Site) -> list[tuple[str, int, int | None]]:
    """State, number of events and last status of what is not finished with, or was set aside."""
    query = "SELECT state, event_count, last_status FROM cdc_hooks.delivery ORDER BY number"
    return shop.execute(query)
