"""Rows that are held for a dead letter: what is said of them, and how they go on."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import Gate, Inbox, first_then, receiving
from tests.acceptance.orders import ids_of, insert, letters, prepare, refusing
from tests.receivers import Received, Stream, answer


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    return site


def held(shop: Site) -> int:
    return [state for state, _, _ in letters(shop)].count("held")


def set_aside(shop: Site, rows: list[int], updates: int) -> None:
    """Each of these rows gets a letter and so many changes that are held; the receiver must refuse the rows."""
    for row in rows:
        insert(shop, row, row)
    eventually(lambda: letters(shop) == [("rejected", 1, 422)] * len(rows), what="the letters")
    for number in range(1, updates + 1):
        # Side by side in one batch, or not: each row is held by itself.
        shop.execute("UPDATE orders SET number = %s", number)
        eventually(lambda number=number: held(shop) == number * len(rows), what="what is held")


def came(inbox: Inbox, after: int) -> list[tuple[int, int]]:
    return [(item["rowId"], item["data"]["number"]) for one in inbox.arrivals[after:] for item in one.items]


def numbers(shop: Site, *states: str) -> list[str]:
    query = "SELECT number FROM cdc_hooks.delivery WHERE state = ANY (%s) ORDER BY number"
    return [str(number) for (number,) in shop.execute(query, list(states))]


def test_status_and_metrics_tell_letters_from_what_waits_for_them(shop):
    with receiving(refusing({7, 8}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop) as daemon:
            set_aside(shop, [7, 8], 3)
            told = shop.webhook_status("w")
            assert (told["dead_letters"], told["held"]) == (2, 6)
            assert "; 2 dead letters; 6 held deliveries wait for them" in told["summary"]
            assert len(daemon.events("held", webhook="w", action="update")) == 6
            said = shop.run("status").stdout
            assert (
                "decides: cdc-hooks deliveries list --state rejected --state dead; then show, resend or delete" in said
            )
            daemon.kill()
            shop.let_the_lease_run_out()
        with leading(shop) as daemon:
            # They are counted when a daemon begins to lead.
            eventually(lambda: daemon.metric("cdc_hooks_held_deliveries", webhook="w") == 6, what="the gauge")
            assert daemon.metric("cdc_hooks_dead_letters", webhook="w") == 2


def test_what_was_held_follows_the_letter_that_is_resent(shop):
    with receiving(refusing({7, 8}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            set_aside(shop, [7, 8], 3)
            inbox.then, before = answer(), len(inbox.arrivals)
            done = shop.run("deliveries", "resend", numbers(shop, "rejected")[0])
            assert done.returncode == 0, done.stdout
            assert "3 held behind them, which follow:" in done.stdout
            assert done.stdout.endswith("4 delivered.\n")
            assert came(inbox, before) == [(7, 0), (7, 1), (7, 2), (7, 3)]
            # The other row still waits, and this one goes on.
            assert letters(shop) == [("rejected", 1, 422), *[("held", 1, None)] * 3]
            shop.execute("UPDATE orders SET number = 4 WHERE id = 7")
            eventually(lambda: came(inbox, before)[-1] == (7, 4), what="the row's next change")


def test_what_comes_while_held_ones_are_resent_follows_too(shop):
    """Each request has another change of the row made, which is held for those that still are."""

    async def behave(request: Received, stream: Stream) -> bool:
        number = request.json["items"][0]["data"]["number"]
        if inbox.then is behave and number < 5:
            # From a thread of the receiver: the test waits for the command meanwhile.
            shop.execute("UPDATE orders SET number = %s WHERE id = 7", number + 2)
            eventually(lambda: held(shop) == 3 - (number == 0), what="another one")
        return await answer()(request, stream)

    with receiving(refusing({7}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            set_aside(shop, [7], 1)
            inbox.then, before = behave, len(inbox.arrivals)
            done = shop.run("deliveries", "resend", *numbers(shop, "rejected"))
            assert done.returncode == 0, done.stdout
            eventually(lambda: letters(shop) == [], what="an end")
    assert came(inbox, before) == [(7, number) for number in range(7)]


def test_what_was_held_waits_where_the_resend_or_one_before_it_fails(shop):
    with receiving(refusing({7}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            set_aside(shop, [7], 3)
            letter = numbers(shop, "rejected")
            assert shop.run("deliveries", "resend", *letter).returncode == 1
            assert held(shop) == 3
            inbox.then, before = first_then(2, answer(), first_then(1, answer(503), answer())), len(inbox.arrivals)
            done = shop.run("deliveries", "resend", *letter)
            assert done.returncode == 1
            assert "failed, answered 503" in done.stdout
            assert "not sent: an earlier delivery with a change of the same row has not got through" in done.stdout
            assert came(inbox, before) == [(7, 0), (7, 1), (7, 2)]
            assert held(shop) == 2
            told = shop.webhook_status("w")["summary"]
            assert (
                "2 held deliveries wait for nothing any more: cdc-hooks deliveries resend --webhook w --state held"
                in told
            )
            done = shop.run("deliveries", "resend", "--webhook", "w", "--state", "held", "--yes")
            assert done.returncode == 0, done.stdout
            assert came(inbox, before)[3:] == [(7, 2), (7, 3)]
            assert letters(shop) == []


def test_a_new_key_follows_the_old_one(shop):
    with receiving(refusing({7}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            insert(shop, 7, 7)
            eventually(lambda: len(letters(shop)) == 1, what="a letter")
            for sql in ("SET id = 9, number = 1", "SET number = 2"):
                before = len(letters(shop))
                shop.execute(f"UPDATE orders {sql}")
                eventually(lambda before=before: len(letters(shop)) == before + 1, what="one that is held")
            done = shop.run("deliveries", "list", "--row", "7", "--json")
            assert [one["row_ids"] for one in json.loads(done.stdout)] == [[9, 7], [7]]
            inbox.then, before = answer(), len(inbox.arrivals)
            assert shop.run("deliveries", "resend", *numbers(shop, "rejected")).returncode == 0
    assert came(inbox, before) == [(7, 0), (9, 1), (9, 2)]


def test_a_new_key_is_held_in_the_same_batch_too(shop):
    with receiving(refusing({7}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            insert(shop, 7, 8)
            eventually(lambda: letters(shop) == [("rejected", 1, 422)], what="a letter")
            inbox.then, before = answer(), len(inbox.arrivals)
            shop.execute(
                "BEGIN; UPDATE orders SET id = 9, number = 1 WHERE id = 7; UPDATE orders SET number = 1 WHERE id = 8;"
                " UPDATE orders SET number = 2 WHERE id = 9; COMMIT"
            )
            eventually(lambda: came(inbox, before) == [(8, 1)], what="the other row")
            assert letters(shop) == [("rejected", 1, 422), ("held", 2, None)]


def test_all_that_is_held_goes_in_order_with_one_command(shop):
    with receiving(refusing({7, 8}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            set_aside(shop, [7, 8], 3)
            inbox.then, before = answer(), len(inbox.arrivals)
            done = shop.run("deliveries", "resend", "--webhook", "w", "--state", "held", "--row", "8", "--yes")
            assert done.returncode == 0, done.stdout
            assert came(inbox, before) == [(8, 1), (8, 2), (8, 3)]
            done = shop.run("deliveries", "resend", "--webhook", "w", "--state", "held", "--yes")
            assert done.returncode == 0, done.stdout
            assert came(inbox, before)[3:] == [(7, 1), (7, 2), (7, 3)]
            assert letters(shop) == [("rejected", 1, 422)] * 2


def test_who_deletes_a_letter_is_told_how_to_let_go_what_was_held_for_it(shop):
    with receiving(refusing({7, 8}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            set_aside(shop, [7, 8], 2)
            first, *_ = numbers(shop, "rejected")
            done = shop.run("deliveries", "delete", first, "--yes")
            assert done.returncode == 0, done.stderr
            assert "2 deliveries were held for what was deleted; to send what was held: " in done.stderr
            inbox.then, before = answer(), len(inbox.arrivals)
            command = done.stderr.partition("cdc-hooks ")[2].split()
            assert command == ["deliveries", "resend", numbers(shop, "held")[0]]
            assert shop.run(*command).returncode == 0
            assert came(inbox, before) == [(7, 1), (7, 2)]
            assert letters(shop) == [("rejected", 1, 422), *[("held", 1, None)] * 2]


def test_what_was_resent_does_not_come_again_with_what_it_was_held_beside(shop):
    """A batch of two rows: one is held, and resent with its letter while the other waits for its next attempt."""
    patient = {"retry": {"schedule": ["300ms"] * 99, "jitter": 0}, "breaker": "off"}
    with receiving(refusing({7}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row", **patient)
        with leading(shop) as daemon:
            insert(shop, 7, 8)
            eventually(lambda: letters(shop) == [("rejected", 1, 422)], what="a letter")
            inbox.then = refusing({8}, 503)
            shop.execute("UPDATE orders SET number = 1")
            eventually(lambda: ("pending", 1, 503) in letters(shop), what="one that waits")
            assert held(shop) == 1
            assert shop.run("deliveries", "resend", *numbers(shop, "rejected")).returncode == 0
            prepare(shop, inbox.url, on_poison="hold_row", **patient, timeout={"total": "7s"})
            daemon.reload()
            daemon.until("reloading")
            before = len(inbox.arrivals)
            inbox.wait(lambda: len(inbox.arrivals) > before + 1)
            inbox.then = answer()
            eventually(lambda: letters(shop) == [], what="an end")
    updates = [one.id for one in inbox.arrivals if one.action == "update" and ids_of(one.request) != {7}]
    assert len(set(updates)) == 1
    assert came(inbox, 0).count((7, 1)) == 1


def test_what_is_to_be_held_waits_for_the_ledger_and_stops_nobody_else(shop):
    gate = Gate()

    async def behave(request: Received, stream: Stream) -> bool:
        return await (gate if min(ids_of(request)) > 100 else refusing({7}, 422))(request, stream)

    with receiving(behave) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row", batch={"max_events": 1}, concurrency=4)
        with leading(shop) as daemon:
            set_aside(shop, [7], 0)
            shop.execute("ALTER TABLE cdc_hooks.delivery ADD CONSTRAINT broken CHECK (state <> 'held')")
            shop.execute(
                "BEGIN; UPDATE orders SET number = 1;"
                " INSERT INTO orders SELECT n, 0 FROM generate_series(101, 140) AS n; COMMIT"
            )
            inbox.wait(lambda: inbox.in_flight == 3)
            daemon.until("ledger_not_written", what="open deliveries")
            assert shop.webhook_status("w")["state"] in {"active", "retrying"}
            gate.open()
            # All but those in the lane of the row.
            inbox.until(20)
            shop.execute("ALTER TABLE cdc_hooks.delivery DROP CONSTRAINT broken")
            inbox.until(41)
            eventually(lambda: held(shop) == 1, what="what is held")
    assert inbox.duplicates() == 0


def test_a_table_without_a_key_is_one_row(site):
    site.execute("CREATE TABLE notes (number int)")

    async def behave(request: Received, stream: Stream) -> bool:
        bad = any(item["data"]["number"] == 1 for item in request.json["items"])
        return await answer(422 if bad else 200)(request, stream)

    with receiving(behave) as inbox:
        site.configure({"w": webhook(inbox.url, ["public.notes"], on_poison="hold_row")})
        site.apply()
        with leading(site):
            site.execute("INSERT INTO notes VALUES (1)")
            eventually(lambda: letters(site) == [("rejected", 1, 422)], what="a letter")
            site.execute("INSERT INTO notes VALUES (2), (3)")
            eventually(lambda: letters(site)[1:] == [("held", 2, None)], what="what is held")
    assert inbox.values("number") == [1]


@pytest.mark.parametrize("database", ["TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"], indirect=True)
def test_rows_are_known_by_their_keys_in_any_encoding_of_the_database(site):
    site.execute("CREATE TABLE places (name text PRIMARY KEY, number int)")
    with receiving(answer(422)) as inbox:
        site.configure({"w": webhook(inbox.url, ["public.places"], on_poison="hold_row")})
        site.apply()
        with leading(site):
            site.execute("INSERT INTO places VALUES ('Köln', 0)")
            eventually(lambda: letters(site) == [("rejected", 1, 422)], what="a letter")
            site.execute("UPDATE places SET number = 1")
            eventually(lambda: letters(site)[1:] == [("held", 1, None)], what="what is held")
            found = site.run("deliveries", "list", "--row", "Köln", "--json")
            assert [one["row_ids"] for one in json.loads(found.stdout)] == [["Köln"]] * 2


def test_what_is_held_for_something_held_waits_with_it(shop):
    """The letter is of row 7, which became row 9: what was then changed in row 9 shares no row with the letter."""
    with receiving(refusing({7}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            insert(shop, 7, 7)
            eventually(lambda: len(letters(shop)) == 1, what="a letter")
            for n, sql in enumerate(("SET id = 9, number = 1", "SET number = 2"), 1):
                shop.execute(f"UPDATE orders {sql}")
                eventually(lambda n=n: held(shop) == n, what="one that is held")
            before = len(inbox.arrivals)
            done = shop.run("deliveries", "resend", "--webhook", "w", "--yes")
            assert done.returncode == 1
            assert done.stdout.count("not sent: an earlier delivery with a change of the same row") == 2
    assert came(inbox, before) == [(7, 0)]


def test_what_is_held_waits_if_what_came_of_its_letter_cannot_be_recorded(shop):
    with receiving(refusing({7}, 422)) as inbox:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            set_aside(shop, [7], 1)
            inbox.then, before = first_then(1, answer(422), answer()), len(inbox.arrivals)
            shop.execute("ALTER TABLE cdc_hooks.delivery_log ADD CONSTRAINT broken CHECK (kind <> 'resend')")
            done = shop.run("deliveries", "resend", "--webhook", "w", "--yes")
            assert done.returncode == 1
            assert "not recorded: " in done.stdout
            assert came(inbox, before) == [(7, 0)]
            shop.execute("ALTER TABLE cdc_hooks.delivery_log DROP CONSTRAINT broken")
            assert shop.run("deliveries", "resend", "--webhook", "w", "--yes").returncode == 0
    assert came(inbox, before) == [(7, 0), (7, 0), (7, 1)]


def test_what_is_held_waits_while_somebody_else_resends_its_letter(shop):
    gate = Gate()
    with receiving(refusing({7}, 422)) as inbox, ThreadPoolExecutor() as pool:
        prepare(shop, inbox.url, on_poison="hold_row")
        with leading(shop):
            set_aside(shop, [7], 1)
            inbox.then, before = gate, len(inbox.arrivals)
            command = ("deliveries", "resend", "--webhook", "w", "--yes")
            first = pool.submit(shop.run, *command)
            inbox.wait(lambda: inbox.in_flight == 1)
            try:
                done = pool.submit(shop.run, *command).result()
                assert came(inbox, before) == [(7, 0)]
                assert "left alone: somebody else resends it" in done.stdout
            finally:
                gate.open()
            assert first.result().returncode == 0
            assert letters(shop) == []
    assert came(inbox, before) == [(7, 0), (7, 1)]
