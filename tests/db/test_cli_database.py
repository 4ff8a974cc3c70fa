"""The commands on a real database, as a DBA and an operator use them one after the other."""

import json

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from cdc_hooks.cli import main
from cdc_hooks.cli.connect import connected
from cdc_hooks.errors import DatabaseError


@pytest.fixture
def cli(database, tmp_path):
    """Runs a command with a configuration for two tables, and gives its result. The daemon's role is its own."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    daemon, owner = f"daemon_{name}", f"owner_{name}"
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute('CREATE TABLE orders (id int PRIMARY KEY, status text); CREATE TABLE "Order Items" (a int)')
    path = tmp_path / "config.yaml"
    path.write_text(
        f"database: {{dsn: '{make_conninfo(database, user=daemon)}', admin_dsn: '{database}', owner_role: {owner}}}\n"
        "webhooks:\n"
        "  w:\n"
        "    url: https://1.1.1.1/hook\n"  # nothing to resolve
        "    secret: 0123456789abcdef\n"
        "    tables: {public.orders: {fields: [id]}, 'public.\"Order Items\"': {actions: [truncate]}}\n"
    )
    yield lambda *args: CliRunner().invoke(main, ["-c", str(path), *args], catch_exceptions=False)
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(
            f"DROP SCHEMA IF EXISTS cdc_hooks CASCADE; DROP ROLE IF EXISTS {owner}; DROP ROLE IF EXISTS {daemon}"
        )


def levels(checked):
    return {one["subject"]: one["level"] for one in json.loads(checked.stdout)["checks"]}


def test_from_plan_to_remove(cli, database):
    before = cli("check", "--json")
    assert before.exit_code == 1
    assert levels(before) == {"configuration": "ok", "database": "error"}

    planned = cli("plan")
    assert planned.exit_code == 3
    assert "create capture of public.orders insert" in planned.stdout
    assert 'create capture of public."Order Items" truncate' in planned.stdout
    assert [step["subject"] for step in json.loads(cli("plan", "--json").stdout)["steps"]][-1] == "table public.orders"
    assert "CREATE SCHEMA cdc_hooks" in cli("plan", "--sql").stdout

    applied = cli("apply")
    assert applied.exit_code == 0
    assert "done: create capture of public.orders insert" in applied.stdout
    assert cli("plan").exit_code == 0
    assert cli("apply").stdout.endswith("Nothing to change: the database is as the configuration wants it.\n")

    checked = cli("check", "--json")
    assert checked.exit_code == 0
    assert set(levels(checked).values()) == {"ok"}
    assert {"server", "schema", "rights", "public.orders", 'public."Order Items"'} < levels(checked).keys()

    shown = cli("status")
    assert shown.exit_code == 0
    assert shown.stdout.startswith(
        "daemon: none runs, or it waits, and its log says for what: systemctl status cdc-hooks\n"
    )
    assert [one["name"] for one in json.loads(cli("status", "--json").stdout)["webhooks"]] == ["w"]

    assert cli("remove", "public.orders").exit_code == 1  # nobody said yes
    assert "done: remove capture of public.orders insert" in cli("remove", "public.orders", "--yes").stdout
    assert cli("remove", "--all", "--yes").exit_code == 0
    assert cli("remove", "--all", "--yes").stdout == "Nothing to remove.\n"
    with psycopg.connect(database) as admin:
        assert admin.execute("SELECT to_regnamespace('cdc_hooks')").fetchone() == (None,)


@pytest.mark.parametrize("database", ["TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"], indirect=True)
def test_a_database_without_an_encoding(cli):
    assert cli("apply").exit_code == 0
    assert cli("check").exit_code == 0
    assert cli("status").exit_code == 0
    assert cli("plan").exit_code == 0


def test_a_capture_that_was_switched_off_is_seen(cli, database):
    cli("apply")
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("ALTER TABLE orders DISABLE TRIGGER ALL")
    checked = cli("check")
    assert checked.exit_code == 1
    assert "trigger 00_cdc_hooks_insert on public.orders is disabled" in checked.stdout
    assert "hint: look with cdc-hooks plan, then run cdc-hooks apply" in checked.stdout
    shown = cli("status").stdout
    assert "capture: public.orders: trigger 00_cdc_hooks_insert" in shown
    assert shown.endswith("may be lost until this mends it: cdc-hooks plan, then cdc-hooks apply\n")
    assert cli("apply").exit_code == 0
    assert cli("check").exit_code == 0


def test_rights_that_the_daemon_lacks_are_named(cli, database):
    cli("apply")
    with psycopg.connect(database, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"REVOKE INSERT ON cdc_hooks.tick FROM daemon_{name}")
    checked = cli("check", "--json")
    assert levels(checked)["rights"] == "error"
    assert "INSERT on cdc_hooks.tick" in checked.stdout


def test_a_daemon_that_has_no_rights_at_all_is_told_how_to_get_them(cli, database):
    cli("apply")
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA cdc_hooks FROM daemon_{admin.info.dbname}")
    assert "hint: run: cdc-hooks apply, as a member of" in cli("check").stdout
    assert cli("apply").exit_code == 0
    assert cli("check").exit_code == 0


def test_status_without_a_schema_says_what_to_do(cli, database):
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE daemon_{admin.info.dbname} LOGIN")
    shown = cli("status")
    assert shown.exit_code == 1
    assert "cdc-hooks apply" in shown.stderr


def test_a_table_that_is_not_there(cli, database):
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("ALTER TABLE orders RENAME TO order_s")
    planned = cli("plan")
    assert planned.exit_code == 2
    assert "there is no table public.orders in this database; did you mean public.order_s" in planned.stderr
    assert cli("remove", "public.nope", "--yes").exit_code == 2


def test_a_connection_that_is_lost_is_said(database):
    with psycopg.connect(database, autocommit=True) as admin, pytest.raises(DatabaseError) as lost:  # noqa: SIM117
        with connected(make_conninfo(database, password="hunter22")) as connection:
            admin.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
            connection.execute("SELECT 1")
    assert "host=127.0.0.1" in lost.value.message
    assert "was lost: terminating connection" in lost.value.message
    assert "hunter22" not in str(lost.value)
    assert "run it again" in lost.value.hint


def test_rebase_asks_and_says_what_it_did(cli):
    cli("apply")
    assert cli("rebase").exit_code == 1
    done = cli("rebase", "--yes")
    assert done.exit_code == 0
    assert "gaps recorded" in done.stdout
