"""Which deliveries the operator's commands are about: each way to choose, and each order, by the real command."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook

ITEMS = 'public."Order Items"'
COLUMNS = (
    "webhook_id, message_id, kind, table_name, action, row_ids, first_event, last_event, first_attempt_at,"
    " last_attempt_at, state, duration_s, attempts, event_count, last_status, last_error, body"
)
# By name: webhook, table, keys, minutes since the last attempt; then from state to last_status.
DELIVERIES = {
    "a": ("v", "public.orders", "[1]", 50, "dead", 0.3, 2, 5, 500),
    "b": ("w", "public.orders", "[2]", 10, "rejected", 0.1, 3, 1, 422),
    "c": ("w", ITEMS, '[{"a": "x", "b": 1}]', 30, "held", 0.4, 1, 9, 404),
    "d": ("w", "public.orders", "[1, 3]", 70, "delivered", 0.2, 4, 7, 200),
}
CHOICES = {
    ("--webhook", "v"): "a",
    ("--webhook", "w"): "bcd",
    ("--state", "held"): "c",
    ("--state", "dead", "--state", "rejected"): "ab",
    ("--since", "40m"): "bc",
    ("--until", "40m"): "ad",
    ("--since", "60m", "--until", "20m"): "ac",
    ("--table", "public.orders"): "abd",
    ("--table", ITEMS): "c",
    ("--row", "1"): "ad",
    ("--row", "a=x,b=1"): "c",
    ("--status", "404"): "c",
    ("--status", "4xx"): "bc",
    ("--webhook", "w", "--row", "1", "--status", "2xx"): "d",
    ("--webhook", "v", "--row", "2"): "",
}
SORTS = {"number": "abcd", "time": "dacb", "duration": "bdac", "attempts": "cabd", "events": "badc", "status": "dcba"}


@pytest.fixture
def shop(site: Site) -> Site:
    """A ledger with all of these."""
    site.execute('CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE "Order Items" (a text, b int)')
    site.configure({name: webhook("http://127.0.0.1:9/", ["public.orders", ITEMS]) for name in ("v", "w")})
    site.apply()
    with leading(site) as daemon:
        eventually(lambda: daemon.metric("cdc_hooks_ledger_bytes") > 0, what="the partitions")
    for name, (of, table, keys, minutes, *rest) in DELIVERIES.items():
        where = "delivery_log" if "delivered" in rest else "delivery"
        site.execute(
            f"INSERT INTO cdc_hooks.{where} ({COLUMNS}) SELECT id, %s, 'normal', %s, 'insert', %s, '1-1', '1-1', now(),"
            "  now() - make_interval(mins => %s), %s, %s, %s, %s, %s, 'x', '' FROM cdc_hooks.webhook WHERE name = %s",
            *(name, table, keys, minutes, *rest, of),
        )
    return site


def listed(shop: Site, *args: str) -> str:
    done = shop.run("deliveries", "list", "--json", *args)
    assert done.returncode == 0, done.stderr
    return "".join(one["message_id"] for one in json.loads(done.stdout))


def test_each_way_to_choose_leaves_out_all_others(shop):
    assert {choice: listed(shop, *choice, "--ascending") for choice in CHOICES} == CHOICES
    exported = shop.run("deliveries", "export", "--webhook", "w", "--since", "40m").stdout.splitlines()
    assert [json.loads(line)["message_id"] for line in exported] == ["b", "c"]
    assert shop.run("deliveries", "delete", "--webhook", "w", "--status", "4xx", "--yes").returncode == 0
    assert listed(shop, "--ascending") == "ad"
    assert shop.run("deliveries", "delete", "a", "d", "--yes").returncode == 0
    assert listed(shop) == ""


def test_each_order(shop):
    assert {sort: listed(shop, "--sort", sort, "--ascending") for sort in SORTS} == SORTS
    assert {sort: listed(shop, "--sort", sort)[::-1] for sort in SORTS} == SORTS
    assert listed(shop) == "dcba"
