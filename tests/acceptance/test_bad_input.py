"""What a person gets wrong ends in one clear message with what to do, the right exit status, and nothing half done."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc_hooks.demo.postgres import PostgresServer
from tests.acceptance.harness import DAEMON_ROLE, SECRET, Daemon, Site, leading, webhook
from tests.acceptance.inbox import receiving
from tests.acceptance.proxy import proxied

URL = "https://receiver.example/hook"
COMMANDS = ("check", "plan", "apply", "run", "status")


@pytest.fixture
def shop(site: Site) -> Site:
    site.execute("CREATE TABLE orders (id int PRIMARY KEY, status text)")
    site.configure({"w": webhook(URL, ["public.orders"])}, database=databases(site))
    return site


def databases(site: Site, **changes: str) -> dict[str, str]:
    return {"dsn": site.daemon_dsn(**changes), "admin_dsn": site.dsn}


def refused(site: Site, command: str, status: int, *says: str, **environment: str) -> str:
    """The command fails with this status, in a few lines that say all of this, without a traceback."""
    done = site.run(command, **environment)
    said = done.stderr + done.stdout
    assert done.returncode == status, said
    for part in says:
        assert part in said
    assert "Traceback" not in said
    assert SECRET not in said
    return said


def untouched(site: Site) -> bool:
    nothing = (
        "SELECT to_regnamespace('cdc_hooks') IS NULL AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgname ~ 'cdc_hooks')"
    )
    return bool(site.value(nothing))


CONFIGURATION = {
    "not YAML": (lambda text: text.replace("webhooks:", "webhooks: ["), ["config.yaml:", "not YAML"]),
    "unknown key": (lambda text: text.replace("secret:", "secert:"), ["config.yaml:", "secert", "secret"]),
    "unknown section": (lambda text: text + "metrisc: off\n", ["config.yaml:", "metrisc", "metrics"]),
    "missing variable": (lambda text: text.replace(SECRET, "${ORDER_SECRET}"), ["ORDER_SECRET"]),
    "no scheme": (lambda text: text.replace("https://", ""), ["webhooks.w.url", "https://"]),
    "http": (
        lambda text: text.replace("https://", "http://").replace("allow_http: true", "allow_http: false"),
        ["http"],
    ),
    "short secret": (lambda text: text.replace(SECRET, "hunter2"), ["webhooks.w.secret"]),
    "short whsec": (lambda text: text.replace(SECRET, "whsec_aHVudGVyMg=="), ["webhooks.w.secret"]),
    "no schema in a name": (lambda text: text.replace("public.orders", "orders"), ["orders"]),
    "not a duration": (lambda text: text.replace("log:", "change_log: {history: fortnight}\nlog:"), ["history"]),
    "not a connection string": (lambda text: text.replace("host=", "hots="), ["database."]),
}


@pytest.mark.parametrize("mistake", CONFIGURATION)
def test_a_mistake_in_the_file(shop, mistake):
    change, says = CONFIGURATION[mistake]
    before = shop.path.read_text()
    shop.path.write_text(change(before))
    assert shop.path.read_text() != before
    for command in COMMANDS if mistake == "unknown key" else ("apply",):
        said = refused(shop, command, 2, *says)
        assert "hunter2" not in said
        assert len(said.splitlines()) <= 6
    assert untouched(shop)


def test_no_file(shop):
    shop.path.unlink()
    refused(shop, "run", 2, "config.yaml")


def test_a_table_that_is_not_there(shop):
    """Nothing is done for the table that is there, either."""
    shop.configure({"w": webhook(URL, ["public.orders", "public.custmers"])}, database=databases(shop))
    shop.execute("CREATE TABLE customers (id int PRIMARY KEY)")
    for command in ("plan", "apply"):
        refused(shop, command, 2, "public.custmers", "did you mean public.customers")
    assert untouched(shop)
    shop.configure({"w": webhook(URL, ["public.orders"])}, database=databases(shop))
    shop.apply()
    shop.configure({"w": webhook(URL, ["public.orders", "public.custmers"])}, database=databases(shop))
    refused(shop, "check", 1, "public.custmers")


def test_a_column_that_is_not_there(shop):
    shop.configure({"w": webhook(URL, {"public.orders": {"fields": ["id", "stauts"]}})}, database=databases(shop))
    refused(shop, "apply", 2, "stauts", "status")
    assert untouched(shop)


def test_a_column_that_is_not_there_beside_a_webhook_that_takes_all(shop):
    """Nothing would be captured less for it; the column would be missing in each body, and nobody would be told."""
    webhooks = {"all": webhook(URL, ["public.orders"])}
    shop.configure(webhooks, database=databases(shop))
    shop.apply()
    shop.configure({**webhooks, "w": webhook(URL, {"public.orders": {"fields": ["id", "stauts"]}})})
    for command in ("plan", "check"):
        refused(shop, command, 2 if command == "plan" else 1, "stauts", "fields", "status")


def test_a_role_that_may_not_install(shop):
    shop.execute("DROP ROLE IF EXISTS nobody_special; CREATE ROLE nobody_special LOGIN")
    admin = make_conninfo(shop.dsn, user="nobody_special")
    shop.configure({"w": webhook(URL, ["public.orders"])}, database={"dsn": shop.daemon_dsn(), "admin_dsn": admin})
    refused(shop, "apply", 1, "nobody_special", "hint:")
    assert untouched(shop)


def test_a_daemon_without_the_schema(shop):
    shop.execute(f"DO $$ BEGIN CREATE ROLE {DAEMON_ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    for command in ("run", "status", "check"):
        refused(shop, command, 1, "cdc-hooks apply")


def test_a_daemon_without_rights(shop):
    shop.apply()
    shop.execute(f"REVOKE INSERT ON cdc_hooks.progress FROM {DAEMON_ROLE}")
    refused(shop, "check", 1, "INSERT on cdc_hooks.progress", "apply")
    ended = json.loads(refused(shop, "run", 1, "permission denied", "cdc-hooks apply").splitlines()[-1])
    assert (ended["event"], ended["level"]) == ("ended", "critical")
    shop.execute(f"REVOKE ALL ON SCHEMA cdc_hooks FROM {DAEMON_ROLE}")
    refused(shop, "run", 1, "cdc-hooks apply")
    shop.apply()
    assert shop.run("check").returncode == 0


def test_a_schema_that_is_newer_than_the_program(shop):
    shop.apply()
    shop.execute("INSERT INTO cdc_hooks.migration (version) VALUES (999)")
    for command in ("run", "apply", "plan", "check"):
        refused(shop, command, 1, "999", "hint", "cdc-hooks")


def test_a_port_that_is_in_use(shop):
    shop.apply()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        shop.configure(
            {"w": webhook(URL, ["public.orders"])}, database=databases(shop), metrics={"listen": f"127.0.0.1:{port}"}
        )
        refused(shop, "run", 2, "metrics.listen", str(port), '"hint": "')


def test_a_wrong_password(own_server: PostgresServer, tmp_path: Path):
    site = Site(own_server.dsn(), tmp_path)
    site.execute("CREATE TABLE orders (id int PRIMARY KEY); CREATE ROLE keeper LOGIN PASSWORD 'right'")
    rules = own_server.data / "pg_hba.conf"
    rules.write_text("host all keeper 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    site.execute("SELECT pg_reload_conf()")
    with receiving() as inbox:
        given = {"w": webhook(inbox.url, ["public.orders"])}
        site.configure(given, database=databases(site, user="keeper", password="right"))
        site.apply()
        with leading(site):
            site.execute("INSERT INTO orders VALUES (1)")
            inbox.until(1)
        site.configure(given, database=databases(site, user="keeper", password="wrong-one"))
        for command in ("check", "status"):
            assert "wrong-one" not in refused(site, command, 1, "keeper", "password")
        # A password may be set while the daemon waits: it says what is wrong, and tries again.
        with Daemon(site) as daemon:
            said = daemon.until("database_unavailable")
            assert 'password authentication failed for user "keeper"' in said["error"]
            assert "password" in said["hint"]
            assert daemon.ready()[0] == 503
            site.execute("ALTER ROLE keeper PASSWORD 'wrong-one'")
            daemon.until("leading")
            assert not any("wrong-one" in str(line) for line in daemon.log)


def test_a_database_that_is_down_is_waited_for(shop, server):
    with receiving() as inbox, proxied(server.port) as proxy:
        shop.configure({"w": webhook(inbox.url, ["public.orders"])}, dsn=shop.daemon_dsn(port=proxy.port))
        shop.apply()
        proxy.cut(stay_down=True)
        refused(shop, "status", 1, "cannot connect")
        with Daemon(shop) as daemon:
            said = daemon.until("database_unavailable")
            daemon.until("database_unavailable", retry_in_s=said["retry_in_s"] * 2)
            status, why = daemon.ready()
            assert status == 503
            assert "waiting for the database" in why
            proxy.heal()
            daemon.until("leading")
            assert daemon.ready() == (200, "leading\n")
            shop.execute("INSERT INTO orders VALUES (1)")
            inbox.until(1)


def test_a_read_only_server_is_waited_for(shop):
    name = conninfo_to_dict(shop.dsn)["dbname"]
    with receiving() as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"])}, database=databases(shop))
        shop.apply()
        shop.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        refused(shop, "apply", 1, "read-only")
        with Daemon(shop) as daemon:
            assert "read-only" in daemon.until("database_unavailable")["error"]
            assert daemon.ready()[0] == 503
            assert "read-only" in daemon.ready()[1]
            with psycopg.connect(shop.dsn, options="-c default_transaction_read_only=off", autocommit=True) as admin:
                admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            daemon.until("leading")
            shop.execute("INSERT INTO orders VALUES (1)")
            inbox.until(1)


def test_a_dump_that_was_restored_elsewhere(shop, server, own_server, tmp_path):
    """Its cursors lie in the future of the new cluster: refused, until somebody says to start afresh."""
    with receiving() as inbox:
        shop.configure({"w": webhook(inbox.url, ["public.orders"])})
        shop.apply()
        # More transactions than the other cluster has had.
        shop.execute(
            "DO $$ BEGIN FOR n IN 1..20000 LOOP BEGIN PERFORM pg_current_xact_id(); INSERT INTO orders VALUES (n);"
            " RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$"
        )
        with leading(shop):
            shop.execute("INSERT INTO orders VALUES (1)")
            inbox.until(1)
    dumped = subprocess.run([server.tool("pg_dump"), "-d", shop.dsn], check=True, capture_output=True).stdout
    elsewhere = Site(own_server.dsn(), tmp_path)
    elsewhere.execute(f"CREATE ROLE {DAEMON_ROLE} LOGIN; CREATE ROLE cdc_hooks_owner")
    restored = subprocess.run(
        [own_server.tool("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-d", own_server.dsn()],
        input=dumped,
        capture_output=True,
        check=False,
    )
    assert restored.returncode == 0, restored.stderr
    with receiving() as inbox:
        elsewhere.configure({"w": webhook(inbox.url, ["public.orders"])}, database=databases(elsewhere))
        refused(elsewhere, "run", 1, "restored", "cdc-hooks rebase")
        done = elsewhere.run("rebase", "--yes")
        assert done.returncode == 0, done.stderr
        with leading(elsewhere):
            elsewhere.execute("INSERT INTO orders VALUES (2)")
            inbox.until(1)
            assert elsewhere.webhook_status("w")["gaps"] == 1
    assert inbox.values("id") == [2]
