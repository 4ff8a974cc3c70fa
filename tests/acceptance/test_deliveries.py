"""The operator's commands on single deliveries: list, show, resend, delete, export; beside a running daemon."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import first_then, receiving
from tests.receivers import answer

ONCE = {"schedule": [], "jitter": 0}


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    site.execute('CREATE TABLE "Order Items" (a text, b int, PRIMARY KEY (a, b))')
    return site


def prepare(
    shop: Site, url: str, retry: dict[str, Any] = ONCE, ledger: dict[str, Any] | None = None, **options: Any
) -> None:
    tables = ["public.orders", 'public."Order Items"']
    shop.configure({"w": webhook(url, tables, retry=retry, breaker="off", **options)}, ledger=ledger or {})
    shop.apply()


def insert(shop: Site, *ids: int) -> None:
    for number in ids:
        shop.execute("INSERT INTO orders VALUES (%s, 0)", number)


def listed(shop: Site, *args: str) -> list[dict[str, Any]]:
    done = shop.run("deliveries", "list", "--json", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def recorded(shop: Site, count: int, *args: str) -> list[dict[str, Any]]:
    """So many deliveries, as soon as they are recorded; the newest first."""
    return eventually(lambda: found if len(found := listed(shop, *args)) >= count else None, what="the records")


def test_deliveries_are_listed_by_what_one_looks_for(shop):
    with receiving(first_then(1, answer(422), answer(200, b"", "x-request-id: r-1"))) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            insert(shop, 1)
            inbox.wait(lambda: len(inbox.arrivals) == 1)
            insert(shop, 2)
            inbox.wait(lambda: len(inbox.arrivals) == 2)
            shop.execute("INSERT INTO \"Order Items\" VALUES ('a\"b', 1), ('c', 2)")
            inbox.wait(lambda: len(inbox.arrivals) == 3)
            items, second, first = recorded(shop, 3)
        assert (first["state"], first["last_status"], first["attempts"]) == ("rejected", 422, 1)
        assert (second["state"], second["last_status"], second["row_ids"]) == ("delivered", 200, [2])
        assert (items["table_name"], items["event_count"]) == ('public."Order Items"', 2)
        assert items["row_ids"] == [{"a": 'a"b', "b": 1}, {"a": "c", "b": 2}]
        assert first["number"] < second["number"] < items["number"]

        def numbers(*args: str) -> list[int]:
            return [one["number"] for one in listed(shop, *args)]

        every = [items["number"], second["number"], first["number"]]
        assert numbers("--webhook", "w", "--since", "1h") == every
        assert numbers("--until", "1h") == []
        assert numbers("--since", "2001-02-03", "--until", "2101-02-03T04:05:06Z") == every
        assert numbers("--state", "rejected", "--state", "dead") == [first["number"]]
        assert numbers("--table", 'public."Order Items"') == [items["number"]]
        assert numbers("--row", "2") == [second["number"]]
        assert numbers("--row", '{"a": "c", "b": 2}') == [items["number"]]
        assert numbers("--status", "4xx") == [first["number"]]
        assert numbers("--status", "200") == every[:2]
        assert numbers("--limit", "1") == every[:1]
        assert numbers("--sort", "events", "--limit", "1") == every[:1]
        assert numbers("--ascending") == every[::-1]
        table = shop.run("deliveries", "list").stdout
        assert table.splitlines()[0].split()[:2] == ["number", "last"]
        assert "answered 422" in table
        assert shop.run("deliveries", "list", "--until", "1h").stdout == "No deliveries.\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--webhook", "v"], "there is no webhook v"),
        (["--since", "yesterday"], "'yesterday' is no time"),
        (["--status", "6x"], "'6x' is no status"),
        (["--table", "orders"], "did you mean public.orders?"),
        (["--state", "retrying"], "'retrying' is not one of"),
    ],
)
def test_what_cannot_be_meant_is_said(shop, args, said):
    prepare(shop, "http://127.0.0.1:9/")
    done = shop.run("deliveries", "list", *args)
    assert done.returncode == 2
    assert said in done.stderr


def test_the_story_of_a_delivery(shop):
    refusals = [answer(500, b"out of \x1b[31m\x00paper"), answer(503, bytes(range(128, 256)), "x-reason: tired")]
    with receiving(first_then(1, refusals[0], first_then(1, refusals[1], answer(400, "zu viel: ä".encode())))) as inbox:
        prepare(
            shop,
            inbox.url + "?token=tell-nobody",
            {"schedule": ["10ms", "10ms"], "jitter": 0},
            auth={"header": {"name": "X-Api-Key", "value": "hush-hush"}},
            headers={"X-Source": "shop"},
        )
        with leading(shop) as daemon:
            insert(shop, 1)
            daemon.until("dead_letter")
            (one,) = recorded(shop, 1, "--state", "rejected")
            eventually(lambda: shop.value("SELECT count(*) FROM cdc_hooks.attempt") == 3, what="the attempts")
        arrival = inbox.arrivals[0]
    told = shop.run("deliveries", "show", str(one["number"])).stdout
    assert told.startswith(f"delivery {one['number']}: rejected\n")
    order = [
        "attempt 1,",
        "answered 500",
        "attempt 2,",
        "answered 503",
        "x-reason: tired",
        "128 bytes that are not text",
    ]
    order += ["attempt 3,", "answered 400", "zu viel: ä", "The receiver refuses what it says"]
    places = [told.index(part) for part in order]
    assert places == sorted(places)
    assert arrival.request.header("webhook-signature") in told
    assert f"cdc-hooks deliveries resend {one['number']}" in told
    assert "X-Api-Key" in told
    assert "x-source" in told.lower()
    assert "\x1b" not in told
    data = json.loads(shop.run("deliveries", "show", arrival.id, "--json").stdout)
    assert data["body"] == {"text": arrival.body.decode()}
    assert [one["status"] for one in data["failed_attempts"]] == [500, 503, 400]
    assert "base64" in data["failed_attempts"][1]["response_body"]
    body = shop.run("deliveries", "show", str(one["number"]), "--body")
    assert body.stdout == arrival.body.decode()
    for secret in ("tell-nobody", "hush-hush", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"):
        assert secret not in told + json.dumps(data)


def test_a_delivery_that_is_not_there(shop):
    prepare(shop, "http://127.0.0.1:9/")
    for args in (["show", "4711"], ["show", "msg_nothing"]):
        done = shop.run("deliveries", *args)
        assert done.returncode == 2
        assert f"there is no delivery {args[1]}" in done.stderr
