"""What ``status`` says of a running daemon's deliveries: over the last hour, day and 30 days."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.acceptance.harness import Site, eventually, leading
from tests.acceptance.inbox import first_then, late, receiving
from tests.acceptance.orders import insert, prepare
from tests.receivers import answer


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def figures(shop: Site) -> dict[str, dict[str, Any]]:
    return shop.webhook_status("w")["statistics"]


def until_there_are(shop: Site, deliveries: int) -> None:
    eventually(lambda: figures(shop).get("month", {}).get("deliveries") == deliveries, what="the notes of them")


def test_deliveries_success_and_latency_are_summed_up_over_three_spans(shop):
    with receiving(first_then(1, answer(500), first_then(1, late(0.3), answer()))) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            assert figures(shop) == {}
            for number in (1, 2, 3):
                insert(shop, number, number)
                inbox.until(number)
            until_there_are(shop, 3)
            hour, day, month = (figures(shop)[span] for span in ("hour", "day", "month"))
            assert hour == day == month
            assert hour["success_rate"] == 0.75
            assert 0.3 / 4 <= hour["mean_s"] <= hour["longest_s"]
            assert 0.2 <= hour["p95_s"] <= hour["longest_s"]
            assert hour["longest_s"] >= 0.3
            # Ten hours later, and then ten days.
            shop.execute("UPDATE cdc_hooks.webhook_hour SET hour = hour - interval '10 hours'")
            insert(shop, 4, 4)
            until_there_are(shop, 4)
            assert [figures(shop)[span]["deliveries"] for span in ("hour", "day", "month")] == [1, 4, 4]
            shop.execute(
                "UPDATE cdc_hooks.webhook_hour SET hour = hour - interval '10 days'"
                " WHERE hour < now() - interval '5 hours'"
            )
        # While no daemon runs, as a person sees it.
        shown = shop.run("status").stdout.partition("over the last")[2].splitlines()[1:]
        hour_and_day, month, *_ = [re.split(r" {2,}", line) for line in shown]
        assert hour_and_day[:4] == ["w", "hour, day", "1", "100 %"]
        assert month[:4] == ["w", "30 days", "4", "80 %"]
        assert all(re.fullmatch(r"[\d.,]+ m?s", one) for line in (hour_and_day, month) for one in line[4:7])
