"""``cdc-hooks test``: the real command, to a receiver that verifies signatures."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys

import pytest
import trustme

from cdc_hooks.config.credentials import signing_key
from cdc_hooks.deliver.sign import fingerprint
from tests.acceptance.harness import SECRET, Site, eventually, leading, own_port, webhook
from tests.acceptance.inbox import receiving
from tests.receivers import Received, answer, hang, raw, receiver_in_thread, redirect

TABLE = 'public."Order Items"'
MASK = "**********"


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute(
        "CREATE TYPE mood AS ENUM ('glad', 'sad'); "
        'CREATE TABLE "Order Items" ("Order" int, line text, mood mood, price numeric(8,2), at timestamptz, card text, '
        'tags text[], doc jsonb, PRIMARY KEY ("Order", line)); '
        """INSERT INTO "Order Items"
             VALUES (7, 'a', 'sad', 1.50, '2026-01-02 03:04:05+02', '1234', '{x}', '{"b": 1.0}')"""
    )
    return site


def configure(site: Site, url: str, *, dsn: str | None = None, admin: bool = False, **options: object) -> None:
    site.configure(
        {"w": webhook(url, [TABLE], **options)},
        database={"dsn": dsn or site.daemon_dsn(), **({"admin_dsn": site.dsn} if admin else {})},
        tables={TABLE: {"exclude": ["card"]}},
    )


def items(request: Received) -> list[dict[str, object]]:
    return request.json["items"]


def test_a_sample_is_like_what_is_delivered_and_is_counted_nowhere(shop: Site) -> None:
    with receiving() as inbox:
        configure(shop, inbox.url)
        shop.apply()
        with leading(shop) as daemon:
            shop.execute('UPDATE "Order Items" SET price = 2')
            inbox.until(1)
            [real] = inbox.arrivals

            def recorded() -> list[object]:
                tables = shop.execute(
                    "SELECT relname FROM pg_class WHERE relnamespace = 'cdc_hooks'::regnamespace "
                    "AND relkind IN ('r', 'p') AND relname NOT IN ('tick', 'progress', 'leader')"
                )
                return [
                    (name, shop.execute(f"SELECT * FROM cdc_hooks.{name} ORDER BY 1::text")) for (name,) in tables
                ] + [
                    daemon.metric("cdc_hooks_changes_delivered_total"),
                    daemon.metric("cdc_hooks_attempts_total"),
                    shop.webhook_status("w")["delivered"],
                ]

            for table in ("delivery_log", "webhook_hour"):  # which are written at times of their own
                eventually(lambda table=table: shop.value(f"SELECT count(*) FROM cdc_hooks.{table}") == 1, what=table)
            eventually(lambda: shop.webhook_status("w")["delivered"] == 1)
            before = recorded()
            tested = shop.run("test", "w", "--action", "update")
            inbox.receiver.then = answer(422)
            failed = shop.run("test", "w")
            assert recorded() == before
    assert (tested.returncode, failed.returncode) == (0, 1), tested.stderr + failed.stderr
    assert [request.header("cdc-hooks-test") for request in inbox.receiver.requests] == [None, "true", "true"]
    test = inbox.receiver.requests[1]
    assert test.json.keys() == real.request.json.keys()
    assert test.json["table"] == real.table
    assert [name.lower() for name, _ in test.headers if name != "cdc-hooks-test"] == [
        name.lower() for name, _ in real.request.headers
    ]
    [sample], [row] = items(test), real.items
    assert list(sample) == list(row)
    assert list(sample["data"]) == list(row["data"])
    assert sample["rowId"] == {"Order": 2147483647, "line": "sample"}
    assert sample["data"]["mood"] == "glad"
    assert sample["eventId"].startswith("0-")


def test_what_a_person_sees(shop: Site) -> None:
    with receiver_in_thread(secret=SECRET, then=answer(202, b'{"ok":\x1b[31m true}', "x-trace: 17")) as receiver:
        configure(shop, f"{receiver.url}?token=hush", auth={"bearer": "hushhush"}, headers={"X-Shop": "hush"})
        done = shop.run("test", "w", "--dsn", shop.dsn)
    assert done.returncode == 0, done.stderr
    [request] = receiver.requests
    assert (request.target, request.header("authorization"), request.header("x-shop")) == (
        "/hook?token=hush", "Bearer hushhush", "hush",
    )  # fmt: skip
    assert "hush" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"To webhook w: a made-up row of {TABLE}, insert"
    assert lines[2] == f"POST /hook?{MASK} HTTP/1.1"
    shown = dict(line.split(": ", 1) for line in lines[3 : lines.index("", 3)])
    assert shown == {
        **{name.lower(): value for name, value in request.headers},
        "authorization": MASK,
        "x-shop": MASK,
    }
    assert '        "Order": 2147483647,' in lines
    assert "x-trace: 17" in lines
    assert '{"ok":\N{REPLACEMENT CHARACTER}[31m true}' in lines
    assert any(line.startswith("HTTP 202, after ") and line.endswith(" ms") for line in lines)
    assert lines[-1] == "would count as delivered"


def test_for_scripts(shop: Site) -> None:
    with receiver_in_thread(secret=SECRET, then=answer(500, b"\xff\xfe\x00\x01\x02")) as receiver:
        configure(shop, receiver.url, auth={"header": {"name": "X-Key", "value": "hush"}})
        done = shop.run("test", "w", "--json", "--dsn", shop.dsn)
    assert done.returncode == 1
    said = json.loads(done.stdout)
    [request] = receiver.requests
    assert said["request"]["body"].encode() == request.body
    assert said["request"]["headers"]["x-key"] == MASK
    assert said["request"]["headers"]["webhook-id"] == request.header("webhook-id")
    assert (said["response"]["status"], said["response"]["body"]) == (500, None)
    assert said["delivered"] is False
    assert said["verdict"] == "would be tried again after 5 s: answered 500"
    assert 0 < said["duration_s"] < 20
    assert "hush" not in done.stdout


def test_a_dry_run_sends_nothing(shop: Site) -> None:
    with receiver_in_thread(secret=SECRET) as receiver:
        configure(shop, receiver.url)
        done = shop.run("test", "w", "--dry-run", "--dsn", shop.dsn)
        said = json.loads(shop.run("test", "w", "--dry-run", "--json", "--dsn", shop.dsn).stdout)
    assert done.returncode == 0
    assert "cdc-hooks-test: true" in done.stdout
    assert "would" not in done.stdout
    assert (said["response"], said["delivered"]) == (None, None)
    assert receiver.connections == 0


@pytest.mark.parametrize("key", ["Order=7,line=a", '{"line": "a", "Order": 7}'])
def test_a_real_row(shop: Site, key: str) -> None:
    with receiver_in_thread(secret=SECRET) as receiver:
        configure(shop, receiver.url, admin=True)
        done = shop.run("test", "w", "--row", key, "--count", "2")
    assert done.returncode == 0, done.stderr
    [request] = receiver.requests
    assert [item["rowId"] for item in items(request)] == [{"Order": 7, "line": "a"}] * 2
    assert b'"data":{"Order":7,"line":"a","mood":"sad","price":1.50,"at":"2026-01-02T01:04:05+00:00",' in request.body
    assert b"1234" not in request.body


def test_a_given_row_needs_no_database(shop: Site) -> None:
    path = shop.directory / "row.json"
    path.write_text('{\n  "Order": 7,\n  "line": "\u202ea\x9b31m",\n  "price": 1.50\n}\n')
    with receiver_in_thread(secret=SECRET) as receiver:
        configure(shop, receiver.url, dsn=f"host=127.0.0.1 port={own_port()} dbname=gone")
        done = shop.run("test", "w", "--data", str(path), "--action", "delete")
        piped = subprocess.run(
            [sys.executable, "-m", "cdc_hooks", "-c", str(shop.path), "test", "w", "--data", "-"],
            input='{"Order": 8,}',
            capture_output=True,
            text=True,
            check=False,
        )
        gone = shop.run("test", "w")
    assert done.returncode == 0, done.stderr
    assert "note: the key of" in done.stderr
    [request] = receiver.requests
    assert request.json["action"] == "delete"
    assert b'"rowId":0,' in request.body
    assert '"data":{"Order":7,"line":"\u202ea\x9b31m","price":1.50}}'.encode() in request.body
    assert '"line": "\N{REPLACEMENT CHARACTER}a\N{REPLACEMENT CHARACTER}31m"' in done.stdout  # for a terminal
    assert piped.returncode == 2
    assert piped.stderr.startswith("standard input:1: not JSON: ")
    assert gone.returncode == 1
    assert gone.stderr.startswith("cannot connect to ")


def test_rights_and_mistakes(shop: Site) -> None:
    configure(shop, "https://a.example")
    shop.apply()

    def refused(status: int, *args: str) -> str:
        done = shop.run("test", *args)
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert "hint: " in done.stderr
        return done.stderr

    assert "may not read table" in refused(1, "w", "--row", "Order=7,line=a")
    assert "has no row with the key Order=8,line=a" in refused(2, "w", "--dsn", shop.dsn, "--row", "Order=8,line=a")
    assert "there is no webhook W in the configuration; did you mean w?" in refused(2, "W")
    assert "gets no changes of table public.orders" in refused(2, "w", "--table", "public.orders")
    assert "gets no truncate of table" in refused(2, "w", "--action", "truncate")
    assert "never gets 101 events in one request" in refused(2, "w", "--count", "101")
    shop.execute('ALTER TABLE "Order Items" RENAME TO "Order Item"')
    assert "there is no table" in refused(2, "w")


@pytest.mark.parametrize(
    ("behaviour", "words", "hint"),
    [
        (
            answer(401),
            "would be tried again after 5 s: answered 401",
            f"fingerprint {fingerprint(signing_key(SECRET))}",
        ),
        (answer(404), "would be tried again after 5 s: answered 404", "is the path of url right"),
        (answer(410), "would pause the webhook: answered 410", ""),
        (answer(503, b"busy", "retry-after: 90"), "would be tried again after 90 s: answered 503", "receiver's log"),
        (redirect("/moved"), "redirected to /moved (redirects are not followed)", "as url: http://127.0.0.1:"),
        (hang(), "no answer within 0.5 s", "the limit is 0.5 s (timeout.total)"),
        (raw(b"SSH-2.0-x\r\n"), "not an HTTP answer: ", "https:// instead of http://"),
        (raw(reset=True), "would be tried again after 5 s: ", "https:// instead of http://"),
    ],
)
def test_receivers_that_do_not_take_it(shop: Site, behaviour, words: str, hint: str) -> None:
    limit = "500ms" if "0.5 s" in words else "20s"
    with receiver_in_thread(secret=SECRET, then=behaviour) as receiver:
        configure(shop, receiver.url, timeout={"connect": limit, "total": limit})
        done = shop.run("test", "w", "--dsn", shop.dsn)
    assert done.returncode == 1
    assert len(receiver.requests) == 1  # not tried again
    said = done.stdout[done.stdout.rindex("\nwould ") :]
    assert words in said
    assert hint in said


def test_a_receiver_that_checks_another_secret(shop: Site) -> None:
    with receiver_in_thread(secret="whsec_" + "Y" * 32) as receiver:
        configure(shop, receiver.url)
        done = shop.run("test", "w", "--dsn", shop.dsn)
    assert (done.returncode, len(receiver.rejected)) == (1, 1)
    assert f"fingerprint {fingerprint(signing_key(SECRET))}" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_a_receiver_that_is_down(shop: Site) -> None:
    configure(shop, f"http://127.0.0.1:{own_port()}/hook")
    done = shop.run("test", "w", "--dsn", shop.dsn)
    assert done.returncode == 1
    assert "no answer, after " in done.stdout
    assert "look whether the receiver runs" in done.stdout


def test_a_certificate_of_an_unknown_authority(shop: Site) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with receiver_in_thread(secret=SECRET, tls=context, host="localhost") as receiver:
        configure(shop, receiver.url)
        refused = shop.run("test", "w", "--dsn", shop.dsn)
        authority.cert_pem.write_to_path(shop.directory / "ca.pem")
        configure(shop, receiver.url, ca_file="ca.pem")
        accepted = shop.run("test", "w", "--dsn", shop.dsn)
    assert refused.returncode == 1
    assert "would be tried again after 5 s: TLS: certificate verify failed" in refused.stdout
    assert "ca_file" in refused.stdout
    assert accepted.returncode == 0, accepted.stdout
