"""No secret and no row data in anything that the daemon and the commands say, whatever goes wrong."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import yaml

from cdc_hooks.changelog.connection import translated
from cdc_hooks.config.ed25519 import SigningKey
from cdc_hooks.errors import DatabaseError
from tests.acceptance.harness import SECRET, Daemon, Site, eventually, get, leading, own_port, webhook
from tests.receivers import Received, Stream, answer, receiver_in_thread, redirect

PRIVATE = SigningKey.from_seed(b"a seed of thirty-two bytes, yes.").secret()
ROW = "row-of-Xk2vQ"
PLANTED = {
    "secret": SECRET.removeprefix("whsec_"),
    "private key": PRIVATE.removeprefix("whsk_"),
    "seed": PRIVATE.removeprefix("whsk_")[:40],
    "bearer": "bearer-of-t0ken",
    "basic": "basic-of-passw0rd",
    "header": "header-of-api-k3y",
    "fixed header": "fixed-of-h3ader",
    "dsn": "dsn-of-passw0rd",
    "query": "query-of-url",
    "user-info": "user-info-of-url",
    "metrics": "metrics-of-t0ken",
    "row": ROW,
    "pair": base64.b64encode(b"shop:basic-of-passw0rd").decode(),
}


class Said:
    """All that was said, by whom."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.by: dict[str, str] = {}

    def command(self, *args: str, status: int = 0) -> None:
        done = self._site.run(*args)
        assert done.returncode == status, done.stdout + done.stderr
        self.by[f"{len(self.by)}: {' '.join(args)}"] = done.stdout + done.stderr

    def holds_no_secret(self) -> None:
        found = [(who, what) for who, text in self.by.items() for what, secret in PLANTED.items() if secret in text]
        assert found == []


async def echo(request: Any, stream: Any) -> bool:
    """Not an HTTP answer: what came, sent back."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
    stream.write(f"{request.target}\r\n{lines}\r\n".encode() + request.body)
    await stream.drain()
    return False


def guarded(url: str, **options: Any) -> dict[str, Any]:
    return webhook(
        f"{url}?key={PLANTED['query']}",
        ["public.orders"],
        retry={"schedule": ["20ms", "1h"], "jitter": 0},
        headers={"X-Shop": PLANTED["fixed header"]},
        **options,
    )


@pytest.fixture
def shop(site: Site) -> Iterator[Site]:
    """Webhooks whose receivers take all, refuse, redirect, echo, and are not there; and one that we cannot serve."""
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, note text); CREATE TABLE spoilt (id int PRIMARY KEY)")
    there = f"http://{PLANTED['user-info']}@127.0.0.1:1/?key={PLANTED['query']}"
    with (
        receiver_in_thread(secret=SECRET) as good,
        receiver_in_thread(then=answer(401, b"no")) as refusing,
        receiver_in_thread(then=redirect(there)) as moved,
        receiver_in_thread(then=echo) as echoing,
    ):
        basic = {"basic": {"user": "shop", "password": PLANTED["basic"]}}
        site.configure(
            {
                "good": {**guarded(good.url, auth={"bearer": PLANTED["bearer"]}), "secret": [SECRET, PRIVATE]},
                "refused": guarded(refusing.url, auth=basic),
                "moved": guarded(moved.url, auth=basic),
                "echoed": guarded(echoing.url, auth={"bearer": PLANTED["bearer"]}),
                "unreachable": guarded(
                    "http://127.0.0.1:1/", auth={"header": {"name": "X-Key", "value": PLANTED["header"]}}
                ),
                "spoilt": {**guarded(good.url), "tables": {"public.spoilt": {"fields": ["id"]}}},
            },
            dsn=site.daemon_dsn(password=PLANTED["dsn"]),
            metrics={"listen": f"127.0.0.1:{own_port()}", "token": PLANTED["metrics"]},
            log={"format": "json", "level": "debug"},
        )
        yield site
    assert good.requests[0].header("authorization") == f"Bearer {PLANTED['bearer']}"
    assert ROW.encode() in b"".join(request.body for request in good.requests)


def test_the_daemon_and_the_commands_tell_no_secret_and_no_row(shop):
    said = Said(shop)
    said.command("plan", "--sql", "--dsn", f"{shop.dsn} password={PLANTED['dsn']}", status=3)
    said.command("apply", "--dsn", f"{shop.dsn} password={PLANTED['dsn']}")
    with Daemon(shop) as daemon:
        daemon.faults_expected = True
        daemon.until("leading")
        with shop.connect(autocommit=False) as writer:
            writer.execute("INSERT INTO spoilt VALUES (1)")
            # A row in the log that is no JSON: serving it is a fault of ours, with a traceback.
            spoilt = f'{{"note": ["{ROW}", "id": 1'
            writer.execute("UPDATE cdc_hooks.change SET data = %s WHERE table_name = 'public.spoilt'", [spoilt])
            writer.execute("INSERT INTO orders VALUES (1, %s)", [ROW])
        daemon.until("delivered", webhook="good")
        for name in ("refused", "moved", "echoed", "unreachable"):
            daemon.until("attempt_failed", webhook=name, attempt=2)
        assert daemon.until("worker_failed", webhook="spoilt")["exception"]
        eventually(lambda: "answered 401" in json.dumps(shop.status()), what="the note of a failure")
        token = f"Bearer {PLANTED['metrics']}"
        for path in ("/metrics", "/readyz", "/healthz"):
            status, _, said.by[path] = get(daemon, path, Authorization=token)
            assert status == 200
            said.by[f"{path} without"] = get(daemon, path)[2]
        said.command("status")
        said.command("status", "--json")
        said.command("check")
        said.command("check", "--json")
        said.command("plan", status=1)  # the daemon's role may not
        said.command("plan", "--json", "--dsn", f"{shop.dsn} password={PLANTED['dsn']}")
        said.command("secret", "show")
        said.command("secret", "rotate", "good", "--json")
        right = shop.path.read_text()
        shop.path.write_text(right.replace("\nlog:", "\nlgo:"))
        daemon.reload()
        daemon.until("reload_refused")
        said.command("check", status=2)
        shop.path.write_text(right)
        daemon.terminate()
        assert daemon.wait() == 0
    said.by["the log"] = json.dumps(daemon.log)
    noted = shop.execute("SELECT name, last_error FROM cdc_hooks.webhook")
    said.by["the database"] = repr(noted + shop.execute("SELECT webhook_id, last_error FROM cdc_hooks.delivery"))
    said.holds_no_secret()
    assert "redirected to http://**********@127.0.0.1:1/?**********" in said.by["the log"]
    assert dict(noted)["spoilt"].startswith("a fault of cdc-hooks (ValueError)")


@pytest.mark.parametrize(
    "dsn",
    [
        "host=127.0.0.1 port={port} dbname=shop user=shop password={dsn}",
        "postgresql://shop:{dsn}@127.0.0.1:{port}/shop",
        "host=nowhere.invalid user=shop password={dsn} sslpassword={dsn}",
        "host=/{{nowhere user=shop password={dsn}",
        "host=127.0.0.1 sslmode=wrong user=shop password={dsn}",
        "host=127.0.0.1 port=99999999 user=shop password={dsn}",
        "host=127.0.0.1 connect_timeout=soon user=shop password={dsn}",
    ],
)
def test_a_database_that_cannot_be_reached_tells_no_password(site, dsn):
    dsn = dsn.format(port=own_port(), dsn=PLANTED["dsn"])
    site.configure({"w": guarded("http://127.0.0.1:1/")}, dsn=dsn)
    said = Said(site)
    with Daemon(site) as daemon:
        daemon.until("database_unavailable")
        said.by["/readyz"] = get(daemon, "/readyz")[2]
        daemon.terminate()
        assert daemon.wait() == 0
    assert said.by["/readyz"].startswith("waiting for the database: ")
    said.by["the log"] = json.dumps(daemon.log)
    for command in (["check", "--json"], ["status"], ["apply"]):
        said.command(*command, status=1)
        assert "Traceback" not in list(said.by.values())[-1]
    said.holds_no_secret()


def document(**changes: Any) -> dict[str, Any]:
    hook = {"url": "https://a.example", "secret": SECRET, "tables": ["public.orders"]}
    return {
        "database": changes.pop("database", {"dsn": f"dbname=shop password={PLANTED['dsn']}"}),
        "webhooks": {"w": {**hook, **changes.pop("w", {})}},
        **changes,
    }


WRONG = {
    "user-info in a URL": document(w={"url": f"https://shop:{PLANTED['user-info']}@a.example/"}),
    "a URL that is none": document(w={"url": f"https://a b/?key={PLANTED['query']}"}),
    "a URL with a fragment": document(w={"url": f"https://a.example/?key={PLANTED['query']}#{PLANTED['query']}"}),
    "a URL without https": document(w={"url": f"http://a.example/?key={PLANTED['query']}"}),
    "a password that is not encoded": document(
        database={"dsn": f"postgresql://shop:wo@{PLANTED['dsn']}/@db.example/shop"}
    ),
    "a connection string that is none": document(database={"dsn": f"dbname=shop password=a {PLANTED['dsn']}"}),
    "a private key that is cut": document(w={"secret": PRIVATE[:60]}),
    "a secret that is not base64": document(w={"secret": f"whsec_!{PLANTED['secret']}"}),
    "a secret where a mapping is wanted": document(w={"auth": PLANTED["bearer"]}),
    "a header of two lines": document(w={"headers": {"X-A": f"{PLANTED['fixed header']}\nX-B: 1"}}),
    "a token of two lines": document(metrics={"token": f"{PLANTED['metrics']}\n1"}),
    "a token that is a list": document(metrics={"token": [PLANTED["metrics"]]}),
    "a password that is a list": document(w={"auth": {"basic": {"user": "a", "password": [PLANTED["basic"]]}}}),
    "two ways to authenticate": document(
        w={"auth": {"bearer": PLANTED["bearer"], "header": {"name": "X-A", "value": PLANTED["header"]}}}
    ),
}
TEXTS = {name: yaml.safe_dump(data, width=1000) for name, data in WRONG.items()} | {
    "a quote that is not closed": yaml.safe_dump(document()).replace(SECRET, f'"{SECRET}'),
    "a colon without a space": yaml.safe_dump(document(), default_flow_style=True, width=1000).replace(
        f"secret: {SECRET}", f"secret:{SECRET}"
    ),
    "a tag": yaml.safe_dump(document()).replace(SECRET, f"!{SECRET}"),
    "an alias": yaml.safe_dump(document()).replace(SECRET, f"*{SECRET}"),
    "a variable that is not closed": yaml.safe_dump(document()).replace(SECRET, f"${{{SECRET}"),
}


@pytest.mark.parametrize("mistake", TEXTS)
def test_a_wrong_configuration_is_explained_without_its_secrets(site, mistake):
    site.path.write_text(TEXTS[mistake])
    said = Said(site)
    for command in (["check", "--json"], ["run"]):
        said.command(*command, status=2)
        text = list(said.by.values())[-1]
        assert "config.yaml:" in text
        assert "Traceback" not in text
    said.holds_no_secret()


def test_an_error_of_the_database_is_told_without_its_details(site):
    site.execute("CREATE TABLE notes (note text CONSTRAINT short CHECK (length(note) < 5))")
    with site.connect() as connection, pytest.raises(DatabaseError) as caught, translated():
        connection.execute("INSERT INTO notes VALUES (%s)", [ROW])
    assert isinstance(caught.value.__cause__, psycopg.Error)
    assert ROW in str(caught.value.__cause__)
    assert caught.value.message == ('new row for relation "notes" violates check constraint "short" (SQLSTATE 23514)')


def test_a_receiver_that_echoes_the_request_tells_the_ledger_nothing(site: Site) -> None:
    async def echo(request: Received, stream: Stream) -> bool:
        said = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
        # Also as PHP writes JSON, as Apache writes a link, and cut off where we stop to read.
        said += json.dumps(dict(request.headers)).replace("/", "\\/") + html.escape(request.target)
        said = f"{request.target}\n{said}\n"
        said += (16_384 - len(said) - 12) * "." + "planted/bearer-1"
        return await answer(422, said.encode(), f"x-echo: {request.header('authorization')}")(request, stream)

    site.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    with receiver_in_thread(secret=None, then=echo) as receiver:
        options = {"auth": {"bearer": "planted/bearer-1"}, "headers": {"X-Api-Key": "planted-header-1"}}
        site.configure({"w": webhook(f"{receiver.url}?token=planted-query-1&shop=north", ["public.orders"], **options)})
        site.apply()
        with leading(site) as daemon:
            site.execute("INSERT INTO orders VALUES (1)")
            daemon.until("dead_letter")
            number = eventually(lambda: site.execute("SELECT number FROM cdc_hooks.delivery"), what="a letter")[0][0]
            eventually(lambda: site.value("SELECT count(*) FROM cdc_hooks.attempt"), what="its attempt")
            shown = site.run("deliveries", "show", str(number)).stdout
            assert "x-echo" in shown
            assert "authorization: **********" in shown
            assert "planted" not in shown
            tried = site.run("test", "w").stdout
            assert "x-echo" in tried
            assert "planted" not in tried
            kept = site.execute("SELECT a::text || encode(a.response_body, 'escape') FROM cdc_hooks.attempt a")
            assert "planted" not in str(kept)
