"""The operator's commands on single deliveries: list, show, resend, delete, export; beside a running daemon."""

from __future__ import annotations

import csv
import json
import re
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.harness import Site, eventually, leading, webhook
from tests.acceptance.inbox import Gate, first_then, receiving
from tests.receivers import answer, hang

ONCE = {"schedule": [], "jitter": 0}


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, number int)")
    site.execute('CREATE TABLE "Order Items" (a text, b int, PRIMARY KEY (a, b))')
    return site


def configure(shop: Site, url: str, ledger: dict[str, Any] | None = None, **options: Any) -> None:
    tables = ["public.orders", 'public."Order Items"']
    shop.configure({"w": webhook(url, tables, **{"retry": ONCE, "breaker": "off", **options})}, ledger=ledger or {})


def prepare(shop: Site, url: str, ledger: dict[str, Any] | None = None, **options: Any) -> None:
    configure(shop, url, ledger, **options)
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
        for key in ('{"a": "c", "b": 2}', '{"b": 2, "a": "c"}', '{"a":"c","b":"2"}', "a=c,b=2", "b=2,a=c"):
            assert numbers("--row", key) == [items["number"]], key
        for key in ("a=c", "a=c,b=1", 'a=a"b,b=2', "a=c,b=2,c=3", '{"a": "c"}', "c", "number=2"):
            assert numbers("--row", key) == [], key
        assert numbers("--row", '"2"') == [second["number"]]
        assert numbers("--row", 'a=a"b,b=1') == [items["number"]]
        assert numbers("--status", "4xx") == [first["number"]]
        assert numbers("--status", "200") == every[:2]
        assert numbers("--limit", "1") == every[:1]
        assert numbers("--sort", "events", "--limit", "1") == every[:1]
        assert numbers("--ascending") == every[::-1]
        table = shop.run("deliveries", "list").stdout
        assert table.splitlines()[0].split()[:2] == ["number", "last"]
        assert "answered 422" in table
        assert shop.run("deliveries", "list", "--until", "1h").stdout == "No deliveries.\n"
        for options in ((), ("--json",)):
            told = shop.run("deliveries", "list", "--limit", "2", *options).stderr
            assert told.startswith("These are 2 of 3;"), told
            assert shop.run("deliveries", "list", "--limit", "3", *options).stderr == ""


def test_a_list_for_scripts_is_whole_and_one_for_people_says_what_it_leaves_out(shop):
    prepare(shop, "http://127.0.0.1:9/")
    with leading(shop):
        pass
    shop.execute(
        "INSERT INTO cdc_hooks.delivery (webhook_id, message_id, kind, state, table_name, action, row_ids, event_count,"
        " first_event, last_event, attempts, first_attempt_at, last_attempt_at, last_status, last_error, body)"
        " SELECT w.id, 'msg_' || n, 'normal', 'dead', 'public.orders', 'insert', '[' || n || ']', 1, '1-1', '1-1', 1,"
        " now(), now(), 500, 'answered 500', '' FROM cdc_hooks.webhook w, generate_series(1, 60) AS n"
    )
    assert len(listed(shop)) == 60
    done = shop.run("deliveries", "list")
    assert len(done.stdout.splitlines()) == 51
    assert done.stderr.startswith("These are 50 of 60;")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--webhook", "v"], "there is no webhook v"),
        (["--since", "yesterday"], "--since: 'yesterday' is no time"),
        (["--status", "6x"], "--status: '6x' is no status"),
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
    refusals = [answer(500, b"out of \x1b[31mpaper"), answer(503, bytes(range(128, 256)), "x-reason: tired")]
    with receiving(first_then(1, refusals[0], first_then(1, refusals[1], answer(400, "zu viel: ä".encode())))) as inbox:
        prepare(
            shop,
            inbox.url + "?token=tell-nobody",
            retry={"schedule": ["10ms", "10ms"], "jitter": 0},
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
    assert "out of \N{REPLACEMENT CHARACTER}[31mpaper" in told
    data = json.loads(shop.run("deliveries", "show", arrival.id, "--json").stdout)
    assert data["body"] == {"text": arrival.body.decode()}
    assert [one["status"] for one in data["failed_attempts"]] == [500, 503, 400]
    assert [one["error_class"] for one in data["failed_attempts"]] == ["5xx", "5xx", "4xx"]
    assert [one["response_headers"] for one in data["failed_attempts"]][1].endswith("x-reason: tired")
    assert [one["at"] for one in data["failed_attempts"]] == sorted({one["at"] for one in data["failed_attempts"]})
    assert all(0 < one["duration_s"] < 20 for one in data["failed_attempts"])
    # Each attempt stands at its time, with what it took.
    attempt = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC  attempt \d, [\d.,]+ m?s: "
    assert len(re.findall(attempt, told, re.MULTILINE)) == 3
    assert "base64" in data["failed_attempts"][1]["response_body"]
    body = shop.run("deliveries", "show", str(one["number"]), "--body")
    assert body.stdout == arrival.body.decode()
    for secret in ("tell-nobody", "hush-hush", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"):
        assert secret not in told + json.dumps(data)


def test_what_was_split_stays_with_what_it_was_split_for(shop):
    with receiving(first_then(1, answer(413), answer())) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            shop.execute("INSERT INTO orders VALUES (1, 0), (2, 0)")
            inbox.until(2)
            second, first, whole = recorded(shop, 3)
        assert [one["state"] for one in (whole, first, second)] == ["split", "delivered", "delivered"]
        assert first["part_of"] == second["part_of"] == whole["message_id"]
        told = shop.run("deliveries", "show", whole["message_id"]).stdout
        assert "attempt 1, " in told
        assert ": answered 413" in told
        assert f"part {first['number']}: delivered" in told
        assert told.endswith("It was split, and its parts, which are deliveries of their own, are finished with.\n")
        done = shop.run("deliveries", "resend", str(whole["number"]))
        assert done.returncode == 1
        assert f"to resend its parts, see: cdc-hooks deliveries show {whole['number']}" in done.stdout
        assert len(inbox.arrivals) == 3


def test_a_delivery_that_is_not_there(shop):
    prepare(shop, "http://127.0.0.1:9/")
    for args in (["show", "4711"], ["show", "msg_nothing"]):
        done = shop.run("deliveries", *args)
        assert done.returncode == 2
        assert f"there is no delivery {args[1]}" in done.stderr


# -- resend -----------------------------------------------------------------------------------------------------------


def set_aside(shop: Site, inbox: Any, *ids: int) -> list[int]:
    """Has the receiver refuse these rows, one after the other; the numbers of the dead letters."""
    for number in ids:
        before = len(inbox.arrivals)
        insert(shop, number)
        inbox.wait(lambda before=before: len(inbox.arrivals) > before)
    letters = recorded(shop, len(ids), "--state", "rejected")
    return [one["number"] for one in reversed(letters)]


def state_of(shop: Site, number: int) -> str:
    return json.loads(shop.run("deliveries", "show", str(number), "--json").stdout)["state"]


def test_a_dead_letter_is_resent_with_the_same_id_and_body_and_what_is_configured_now(shop):
    new_secret = "whsec_" + "bmV3IHNlY3JldCBvZiAzMiBieXRlcyBhdCBsZWFzdCE="
    with receiving(answer(422)) as inbox, receiving(secret=new_secret) as mended:
        prepare(shop, inbox.url)
        with leading(shop) as daemon:
            first, second = set_aside(shop, inbox, 1, 2)
            configure(shop, mended.url, secret=new_secret, auth={"bearer": "a new token"})
            done = shop.run("deliveries", "resend", str(second), str(first))
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.endswith("2 delivered.\n")
            assert [arrival.id for arrival in mended.arrivals] == [arrival.id for arrival in inbox.arrivals]
            assert [arrival.body for arrival in mended.arrivals] == [arrival.body for arrival in inbox.arrivals]
            assert mended.arrivals[0].request.header("authorization") == "Bearer a new token"
            daemon.terminate()
            daemon.wait()
        resends = listed(shop, "--state", "delivered")
        assert [(one["kind"], one["resend_of"]) for one in resends] == [("resend", second), ("resend", first)]
        assert [state_of(shop, number) for number in (first, second)] == ["resent", "resent"]
        assert shop.value("SELECT count(*) FROM cdc_hooks.delivery") == 0
        assert f"resent as {resends[1]['number']}" in shop.run("deliveries", "show", str(first)).stdout
        # It is finished with, and its body is there: it can be sent once more.
        assert shop.run("deliveries", "resend", str(first)).returncode == 0
        assert len(mended.arrivals) == 3


def test_a_dead_letter_may_be_removed_when_it_got_through(shop):
    with receiving(first_then(1, answer(422), answer())) as inbox:
        prepare(shop, inbox.url, {"on_resent": "remove", "log": "rejected"})
        with leading(shop):
            (number,) = set_aside(shop, inbox, 1)
            assert shop.run("deliveries", "resend", str(number)).returncode == 0
    (resent,) = listed(shop)
    assert (resent["kind"], resent["state"], resent["resend_of"]) == ("resend", "delivered", number)


def test_where_nothing_is_recorded_a_resent_one_goes(shop):
    with receiving(first_then(1, answer(422), answer())) as inbox:
        prepare(shop, inbox.url, {"log": "none"})
        with leading(shop):
            (number,) = set_aside(shop, inbox, 1)
            assert shop.run("deliveries", "resend", str(number)).returncode == 0
    assert listed(shop) == []


def test_a_resend_that_fails_is_told_and_later_changes_of_the_row_wait_for_it(shop):
    with receiving(answer(422)) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            first, other = set_aside(shop, inbox, 1, 2)
            shop.execute("UPDATE orders SET number = 1 WHERE id = 1")
            later = recorded(shop, 3, "--state", "rejected")[0]["number"]
            eventually(lambda: shop.value("SELECT count(*) FROM cdc_hooks.attempt") == 3, what="the attempts")
        inbox.then = first_then(1, answer(503, b"not yet"), answer())
        done = shop.run("deliveries", "resend", "--webhook", "w", "--yes")
        assert done.returncode == 1
        told = done.stdout.splitlines()
        assert f"{first}: insert of public.orders to w: failed, answered 503" in told[0]
        assert f"{other}: insert of public.orders to w: delivered, answered 200" in told[1]
        assert "not sent: an earlier delivery with a change of the same row has not got through" in told[2]
        assert told[3] == "1 delivered, 1 failed, 1 not sent."
        one = json.loads(shop.run("deliveries", "show", str(first), "--json").stdout)
        assert (one["state"], one["last_error"], one["attempts"]) == ("rejected", "answered 503", 2)
        assert [attempt["by_hand"] for attempt in one["failed_attempts"]] == [False, True]
        assert [other["state"] for other in one["related"]] == ["failed"]
        again = shop.run("deliveries", "resend", "--row", "1", "--yes")
        assert again.returncode == 0, again.stdout
        assert [state_of(shop, number) for number in (first, later)] == ["resent", "resent"]
    assert [arrival.action for arrival in inbox.arrivals[-2:]] == ["insert", "update"]


@pytest.mark.parametrize("status", [200, 503])
def test_two_operators_at_once_send_each_delivery_once(shop, status):
    gate = Gate(answer(status))
    with receiving(answer(422)) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            numbers = set_aside(shop, inbox, 1, 2, 3)
        inbox.then = gate
        with ThreadPoolExecutor() as pool:
            commands = [pool.submit(shop.run, "deliveries", "resend", "--webhook", "w", "--yes")]
            inbox.wait(lambda: len(inbox.arrivals) == 4)
            # The first one holds a delivery; the other sends what is left meanwhile, and is held at its first.
            commands.append(pool.submit(shop.run, "deliveries", "resend", "--webhook", "w", "--yes"))
            inbox.wait(lambda: len(inbox.arrivals) == 5)
            gate.open()
            done = [command.result() for command in commands]
    assert {one.returncode for one in done} == ({0} if status == 200 else {1}), done
    assert "left alone" in done[0].stdout + done[1].stdout
    assert len(inbox.arrivals) == 6
    assert {arrival.id for arrival in inbox.arrivals[3:]} == {arrival.id for arrival in inbox.arrivals[:3]}
    assert [state_of(shop, number) for number in numbers] == ["resent" if status == 200 else "rejected"] * 3


def test_the_same_finished_delivery_is_not_resent_by_two_at_once(shop):
    gate = Gate()
    with receiving() as inbox:
        prepare(shop, inbox.url, {"bodies": "all"})
        with leading(shop):
            insert(shop, 1)
            (one,) = recorded(shop, 1)
        inbox.then = gate
        with ThreadPoolExecutor() as pool:
            first = pool.submit(shop.run, "deliveries", "resend", str(one["number"]))
            inbox.wait(lambda: len(inbox.arrivals) == 2)
            second = shop.run("deliveries", "resend", str(one["number"]))
            gate.open()
            assert first.result().returncode == 0
    assert "left alone" in second.stdout
    assert second.returncode == 0
    assert len(inbox.arrivals) == 2
    assert inbox.arrivals[1].body == inbox.arrivals[0].body


def test_an_interrupt_lets_the_request_under_way_end_and_be_recorded(shop):
    gate = Gate()
    with receiving(answer(422)) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            first, second = set_aside(shop, inbox, 1, 2)
        inbox.then = gate
        command = [
            sys.executable,
            "-m",
            "cdc_hooks",
            "-c",
            str(shop.path),
            "deliveries",
            "resend",
            "--webhook",
            "w",
            "--yes",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            inbox.wait(lambda: len(inbox.arrivals) == 3)
            running.send_signal(signal.SIGINT)
            gate.open()
            told, _ = running.communicate(timeout=30)
        assert running.returncode == 130
        assert told.endswith("1 delivered, 1 not tried.\n")
        assert [state_of(shop, number) for number in (first, second)] == ["resent", "rejected"]


def test_a_second_interrupt_cuts_off_and_leaves_it_as_it_was(shop):
    with receiving(answer(422)) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            (number,) = set_aside(shop, inbox, 1)
        inbox.then = hang()
        command = [sys.executable, "-m", "cdc_hooks", "-c", str(shop.path), "deliveries", "resend", str(number)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            inbox.wait(lambda: len(inbox.arrivals) == 2)
            running.send_signal(signal.SIGINT)
            assert running.stderr is not None
            assert "interrupt again" in running.stderr.readline()
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=30)
        assert running.returncode == 130
        assert f"{number}: cut off" in told
        assert "Traceback" not in told
        assert state_of(shop, number) == "rejected"
        assert shop.value("SELECT attempts FROM cdc_hooks.delivery") == 1


def test_what_cannot_be_resent_is_said(shop):
    with receiving(first_then(1, answer(), answer(500))) as inbox:
        prepare(shop, inbox.url, retry={"schedule": ["1h"]})
        with leading(shop):
            insert(shop, 1)
            inbox.until(1)
            insert(shop, 2)
            pending, finished = recorded(shop, 2)
            for one, why in ((pending, "cdc-hooks resume w"), (finished, "its body was not kept")):
                done = shop.run("deliveries", "resend", one["message_id"])
                assert done.returncode == 1
                assert why in done.stdout
            assert shop.run("deliveries", "resend", "--webhook", "w").stdout == (
                "No such deliveries in a state to be resent (held, rejected, dead); --state chooses others.\n"
            )
    assert shop.run("deliveries", "resend", "999").returncode == 2
    assert shop.run("deliveries", "resend").returncode == 2
    assert shop.run("deliveries", "resend", "1", "--webhook", "w").returncode == 2
    assert len(inbox.arrivals) == 2


def test_one_asks_before_many_are_resent_or_deleted(shop):
    with receiving(answer(422)) as inbox:
        prepare(shop, inbox.url)
        with leading(shop):
            (number,) = set_aside(shop, inbox, 1)
    for command in ("resend", "delete"):
        done = shop.run("deliveries", command, "--webhook", "w")
        assert done.returncode == 1
        assert "1 delivery" in done.stderr
    assert state_of(shop, number) == "rejected"
    assert len(inbox.arrivals) == 1


# -- delete -----------------------------------------------------------------------------------------------------------


def test_what_was_set_aside_or_is_finished_with_is_deleted_and_what_waits_is_not(shop):
    with receiving(first_then(1, answer(422), first_then(1, answer(), answer(500)))) as inbox:
        prepare(shop, inbox.url, retry={"schedule": ["1h"]})
        with leading(shop):
            for number in (1, 2, 3):
                insert(shop, number)
                inbox.until(number)
            pending, finished, letter = recorded(shop, 3)
            assert [one["state"] for one in (pending, finished, letter)] == ["pending", "delivered", "rejected"]
            eventually(lambda: shop.value("SELECT count(*) FROM cdc_hooks.attempt") == 2, what="the attempts")
            done = shop.run("deliveries", "delete", "--webhook", "w", "--yes")
            assert done.returncode == 1
            assert done.stdout == "2 deliveries deleted.\n"
            assert f"{pending['number']} stays: it is pending" in done.stderr
            assert [one["number"] for one in listed(shop)] == [pending["number"]]
            assert shop.value("SELECT count(*) FROM cdc_hooks.attempt") == 1
            assert shop.run("deliveries", "delete", "998", "--yes").returncode == 2
            # A pause changes nothing: it would be sent when that ends.
            shop.run("pause", "w")
            assert shop.run("deliveries", "delete", str(pending["number"]), "--yes").returncode == 1
            assert shop.run("resume", "w", "--from", "now", "--yes").returncode == 0
            gone = pending["number"]
            eventually(lambda: gone not in [one["number"] for one in listed(shop)], what="what waited left out")
            assert shop.run("deliveries", "delete", str(gone), "--yes").returncode == 2


# -- export -----------------------------------------------------------------------------------------------------------


def test_deliveries_are_exported_as_json_lines_and_as_csv(shop, tmp_path):
    with receiving(first_then(1, answer(500, b"\xff\x00"), answer())) as inbox:
        prepare(shop, inbox.url, {"bodies": "all"})
        with leading(shop):
            insert(shop, 1)
            inbox.until(1)
            recorded(shop, 1)
            eventually(lambda: shop.value("SELECT count(*) FROM cdc_hooks.attempt") == 1, what="the attempt")
            shop.execute('INSERT INTO "Order Items" VALUES (\'ä,"\n\', 1)')
            inbox.until(2)
            recorded(shop, 2)
    lines = shop.run("deliveries", "export").stdout.splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["state"], first["last_status"], first["body"]) == ("dead", 500, inbox.arrivals[0].body.decode())
    assert (second["state"], second["row_ids"]) == ("delivered", [{"a": 'ä,"\n', "b": 1}])
    (attempt,) = first["failed_attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["error"]) == (1, 500, "answered 500")
    assert attempt["error_class"] == "5xx"
    assert attempt["at"] == first["last_attempt_at"]
    assert attempt["duration_s"] == first["duration_s"]
    assert (attempt["response_body"], attempt["response_body_base64"]) == (None, "/wA=")
    assert first["response_headers"] == attempt["response_headers"] == "content-length: 2"
    assert (first["response_body_base64"], second["failed_attempts"]) == ("/wA=", [])
    assert shop.run("deliveries", "export", "--output", "-").stdout.splitlines() == lines
    assert second["body"] == inbox.arrivals[1].body.decode()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["last_attempt_at"])
    path = tmp_path / "deliveries.csv"
    path.touch(0o644)
    done = shop.run("deliveries", "export", "--format", "csv", "--output", str(path))
    assert done.stdout == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["message_id"] for row in rows] == [arrival.id for arrival in inbox.arrivals]
    assert rows[1]["body"] == inbox.arrivals[1].body.decode()
    assert rows[0]["response_body_base64"] == "/wA="
    (only,) = shop.run("deliveries", "export", "--state", "dead").stdout.splitlines()
    assert json.loads(only)["number"] == first["number"]
    assert shop.run("deliveries", "export", "--until", "1h").stdout == ""
    unwritable = shop.run("deliveries", "export", "--output", str(tmp_path / "no" / "file"))
    assert unwritable.returncode == 2
    assert "cannot be written" in unwritable.stderr
