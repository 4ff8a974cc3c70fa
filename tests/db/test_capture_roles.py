"""Who may do what: an administrator without superuser, a daemon that can do its work and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from cdc_hooks import sql as files
from cdc_hooks.capture import Wanted, plan, remove
from cdc_hooks.errors import DatabaseError
from cdc_hooks.model import Action
from tests.db.conftest import Captured

ALL = frozenset(Action)


@pytest.fixture
def admin(captured: Captured) -> Iterator[Captured]:
    """As on a managed database: CREATEROLE, CREATE on the database, owner of the application's tables; no superuser."""
    name = f"capture_admin_{captured.conn.info.dbname}"
    captured.execute(f"CREATE ROLE {name} LOGIN CREATEROLE")
    captured.execute(
        f"GRANT CREATE ON DATABASE {captured.conn.info.dbname} TO {name}; GRANT CREATE ON SCHEMA public TO {name}"
    )
    with captured.connect(name) as conn:
        conn.execute("CREATE TABLE orders (id int PRIMARY KEY, status text)")
        yield replace(captured, conn=conn)


def test_an_administrator_without_superuser_installs_changes_and_removes(admin: Captured, captured: Captured) -> None:
    admin.capture("public.orders", actions=ALL, when="NEW.id > 0")
    [wanted] = admin.capture("public.orders", actions=ALL, columns=("id",))
    assert not admin.plan(wanted)
    assert admin.audit(wanted) == ()
    admin.execute("INSERT INTO orders VALUES (1)")
    assert captured.keys() == [("I", 1)]
    owners = captured.execute(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'cdc_hooks'::regnamespace"
        " UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'cdc_hooks'::regnamespace"
        " UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'cdc_hooks'"
    )
    assert owners.fetchall() == [(admin.roles.owner,)]
    remove(admin.conn, None, admin.roles)
    gone = captured.execute("SELECT to_regnamespace('cdc_hooks'), to_regrole(%s)", admin.roles.owner)
    assert gone.fetchone() == (None, None)


def test_the_daemon_s_role_logs_in_and_gets_no_password(admin: Captured, captured: Captured) -> None:
    [step] = [s for s in admin.plan().steps if s.subject == f"role {admin.roles.daemon}"]
    assert any("\\password" in note for note in step.notes)
    assert "PASSWORD" not in "".join(step.sql).upper()
    admin.capture()
    role = captured.execute(
        "SELECT rolcanlogin, rolsuper, rolpassword FROM pg_authid WHERE rolname = %s", admin.roles.daemon
    )
    assert role.fetchone() == (True, False, None)
    owner = captured.execute("SELECT rolcanlogin, rolsuper FROM pg_authid WHERE rolname = %s", admin.roles.owner)
    assert owner.fetchone() == (False, False)


def test_an_administrator_who_may_not_create_roles_is_told_what_to_ask_for(admin: Captured, captured: Captured) -> None:
    name = admin.conn.info.user
    captured.execute(f"ALTER ROLE {name} NOCREATEROLE; REVOKE CREATE ON DATABASE {admin.conn.info.dbname} FROM {name}")
    with pytest.raises(DatabaseError, match="may not do what has to be done once") as refused:
        admin.plan(Wanted("public.orders", ALL))
    asked = str(refused.value.hint).removeprefix("as a superuser, run: ")
    captured.execute(asked)
    [wanted] = admin.capture("public.orders", actions=ALL)
    assert admin.audit(wanted) == ()
    admin.execute("INSERT INTO orders VALUES (1)")
    assert captured.keys() == [("I", 1)]
    remove(admin.conn, None, admin.roles)


def test_tables_of_others_are_refused_with_the_way_out(admin: Captured, captured: Captured) -> None:
    captured.execute("CREATE TABLE theirs (id int PRIMARY KEY)")
    with pytest.raises(DatabaseError, match=r"public\.theirs belongs to postgres") as refused:
        admin.plan(Wanted("public.theirs", ALL))
    assert "GRANT" in str(refused.value.hint)
    assert captured.execute("SELECT to_regnamespace('cdc_hooks')").fetchone() == (None,)


def test_somebody_who_may_not_look_is_told_so(admin: Captured, captured: Captured) -> None:
    admin.capture()
    stranger = f"capture_stranger_{captured.conn.info.dbname}"
    captured.execute(f"CREATE ROLE {stranger} LOGIN")
    with captured.connect(stranger) as conn, pytest.raises(DatabaseError, match="may not look"):
        plan(conn, [], admin.roles)


def test_the_daemon_may_be_the_administrator(captured: Captured) -> None:
    captured.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    captured.roles = replace(captured.roles, daemon="postgres")
    [wanted] = captured.capture("public.orders", actions=ALL)
    assert not captured.plan(wanted)
    assert captured.audit(wanted) == ()


def test_an_administrator_without_superuser_may_be_the_daemon(admin: Captured, captured: Captured) -> None:
    admin.roles = replace(admin.roles, daemon=admin.conn.info.user)
    [wanted] = admin.capture("public.orders", actions=ALL)
    assert not admin.plan(wanted)
    admin.execute("INSERT INTO orders VALUES (1)")
    assert admin.keys() == [("I", 1)]


DAEMON_MAY = (
    *[f"SELECT * FROM cdc_hooks.{table}" for table in ("change", "tick", "progress", "webhook", "leader", "migration")],
    *[f"SELECT * FROM cdc_hooks.{table}" for table in ("installation", "epoch", "gap", "delivery", "change_07")],
    "INSERT INTO cdc_hooks.tick (next_xid, after_id, upto_id, snapshot) VALUES ('5', 0, 0, '5:5:')",
    "DELETE FROM cdc_hooks.tick WHERE id > 0",
    "INSERT INTO cdc_hooks.progress (webhook_id, lo_tick, hi_tick, after_id) VALUES (1, 0, 0, 0)",
    "DELETE FROM cdc_hooks.progress",
    "UPDATE cdc_hooks.leader SET generation = 1",
    "SELECT FROM cdc_hooks.leader FOR SHARE",
    "INSERT INTO cdc_hooks.webhook (name) VALUES ('w')",
    "UPDATE cdc_hooks.webhook SET delivered = 1",
    "INSERT INTO cdc_hooks.gap (webhook_id, after_id, upto_id, reason) SELECT id, 0, 1, 'x' FROM cdc_hooks.webhook",
    "UPDATE cdc_hooks.gap SET reason = 'y'",
    "INSERT INTO cdc_hooks.epoch VALUES (1, 0, 1, 1)",
    "UPDATE cdc_hooks.epoch SET timeline = 2",
    """INSERT INTO cdc_hooks.delivery (webhook_id, message_id, state, table_name, action, event_count, first_event,
                                       last_event, attempts, first_attempt_at, last_attempt_at, last_error, body)
       SELECT id, 'm', 'dead', 't', 'insert', 1, '1-1', '1-1', 1, now(), now(), 'e', '' FROM cdc_hooks.webhook""",
    "UPDATE cdc_hooks.delivery SET attempts = 2",
    "DELETE FROM cdc_hooks.delivery",
    "DELETE FROM cdc_hooks.delivery_log",
    "DELETE FROM cdc_hooks.attempt",
    "LOCK TABLE cdc_hooks.change_03 IN ACCESS EXCLUSIVE MODE NOWAIT",
    "TRUNCATE cdc_hooks.change_03",
    "SELECT setval('cdc_hooks.doorbell', 0), setval('cdc_hooks.lease', 0)",
    "SELECT last_value FROM cdc_hooks.change_id",
    "SELECT cdc_hooks.now_ms()",
    "LISTEN cdc_hooks",
)
DAEMON_MAY_NOT = (
    "SELECT * FROM public.orders",
    "INSERT INTO public.orders VALUES (1)",
    "INSERT INTO cdc_hooks.change (action, table_name) VALUES ('I', 'x')",
    "UPDATE cdc_hooks.change SET data = ''",
    "DELETE FROM cdc_hooks.change",
    "DELETE FROM cdc_hooks.change_00",
    "TRUNCATE cdc_hooks.change",
    "UPDATE cdc_hooks.tick SET after_id = 0",
    "UPDATE cdc_hooks.delivery_log SET last_status = 200",
    "UPDATE cdc_hooks.attempt SET status = 200",
    "UPDATE cdc_hooks.endpoint SET url = 'x'",
    "DELETE FROM cdc_hooks.webhook",
    "INSERT INTO cdc_hooks.migration (version) VALUES (99)",
    "SELECT nextval('cdc_hooks.change_id')",
    "SELECT setval('cdc_hooks.change_id', 1)",
    "CREATE TABLE cdc_hooks.mine ()",
    "CREATE OR REPLACE FUNCTION cdc_hooks.now_ms() RETURNS bigint LANGUAGE sql RETURN 0",
    "ALTER TABLE public.orders DISABLE TRIGGER ALL",
)


def test_the_daemon_can_do_its_work_and_nothing_else(captured: Captured) -> None:
    captured.execute("CREATE TABLE public.orders (id int PRIMARY KEY)")
    captured.capture("public.orders")
    with captured.connect(captured.roles.daemon) as daemon:
        for statement in DAEMON_MAY:
            with daemon.transaction():
                daemon.execute(statement)
        for statement in DAEMON_MAY_NOT:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                daemon.execute(statement)


ACLS = """
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text, a.privilege_type
      FROM pg_class c, aclexplode(c.relacl) a
     WHERE c.relnamespace = 'cdc_hooks'::regnamespace AND a.grantee = %(daemon)s::regrole
    UNION ALL
    SELECT 'SCHEMA', 'cdc_hooks', a.privilege_type FROM pg_namespace, aclexplode(nspacl) a
     WHERE nspname = 'cdc_hooks' AND a.grantee = %(daemon)s::regrole
     ORDER BY 1, 2, 3"""


def granted_to(captured: Captured) -> list[tuple[str, str, str]]:
    return captured.conn.execute(ACLS, {"daemon": captured.roles.daemon}).fetchall()


def missing(captured: Captured) -> list[tuple[str]]:
    return captured.conn.execute(
        files.queries("capture")["missing_grants"], {"daemon": captured.roles.daemon}
    ).fetchall()


def test_each_missing_grant_is_noticed_and_put_back(captured: Captured) -> None:
    captured.capture()
    granted = granted_to(captured)
    assert len(granted) > 40
    for kind, name, right in granted:
        revoke = sql.SQL(f"REVOKE {right} ON {kind} {name} FROM {{}}").format(sql.Identifier(captured.roles.daemon))
        with captured.conn.transaction(force_rollback=True):
            captured.execute(revoke.as_string(captured.conn))
            assert missing(captured), (kind, name, right)
    captured.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA cdc_hooks FROM {captured.roles.daemon}")
    assert captured.plan()
    captured.capture()
    assert not captured.plan()
    assert granted_to(captured) == granted
