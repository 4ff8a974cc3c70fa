"""What ``status`` says, read with the rights of the daemon's role and without a daemon."""

import json
from dataclasses import asdict

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cdc_hooks import sql
from cdc_hooks.config.load import parse
from cdc_hooks.ops.statistics import Sums
from cdc_hooks.ops.status import gather

_SQL = sql.queries("changelog")


@pytest.fixture
def admin(database):
    """A database with the schema and a role for the daemon, seen by its superuser."""
    role = f"daemon_{conninfo_to_dict(database)['dbname']}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.text("schema.sql").encode())
        connection.execute("INSERT INTO cdc_hooks.migration (version) VALUES (1)")
        connection.execute(f"CREATE ROLE {role} LOGIN")
        grants = psycopg.sql.SQL(sql.text("grants.sql"))
        connection.execute(
            grants.format(daemon=psycopg.sql.Identifier(role), daemon_name=psycopg.sql.Literal(role)).as_bytes(None)
        )
        yield connection
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.fixture
def status(admin, database, tmp_path):
    """The report on these webhooks, as the daemon's role gets it in a transaction that cannot write."""
    dsn = make_conninfo(database, user=f"daemon_{admin.info.dbname}", options="-c default_transaction_read_only=on")

    def ask(*webhooks):
        entry = {"url": "https://a.example", "secret": "0123456789abcdef", "tables": ["public.orders"]}
        text = json.dumps({"database": {"dsn": dsn}, "webhooks": dict.fromkeys(webhooks, entry)})
        with psycopg.connect(dsn, autocommit=True) as connection:
            return gather(connection, parse(text, tmp_path / "config.yaml", {}))

    return ask


def started(admin, *names):
    """Webhooks as a daemon leaves them that has seen all there was; their ids."""
    (tick,) = tick_of(admin)
    ids = []
    for name in names:
        ids += admin.execute(_SQL["add_webhook"], {"name": name, "generation": 0}).fetchone()
        stands_at(admin, ids[-1], tick)
    return ids


def tick_of(admin):
    admin.execute("SELECT cdc_hooks.make_tick((SELECT generation FROM cdc_hooks.leader), true)")
    return admin.execute("SELECT max(id) FROM cdc_hooks.tick").fetchone()


def stands_at(admin, webhook_id, tick):
    admin.execute(
        "INSERT INTO cdc_hooks.progress (webhook_id, lo_tick, hi_tick, after_id) VALUES (%s, %s, %s, 0)",
        (webhook_id, tick, tick),
    )


def leads(admin):
    admin.execute("SELECT cdc_hooks.take_lead('shop-db-1 pid 7', 60000)")


def write(admin, count):
    admin.execute(
        "INSERT INTO cdc_hooks.change (action, table_name, key, data)"
        " SELECT 'U', 'public.orders', n::text, '{}' FROM generate_series(1, %s) n",
        (count,),
    )


def failed(admin, webhook_id, message, state):
    admin.execute(
        "INSERT INTO cdc_hooks.delivery (webhook_id, message_id, state, table_name, action, event_count, first_event,"
        " last_event, attempts, first_attempt_at, last_attempt_at, next_attempt_at, last_error, body)"
        " VALUES (%s, %s, %s, 'public.orders', 'update', 1, '1-1', '1-1', 3, now(), now(),"
        " CASE %s WHEN 'pending' THEN timestamptz '2026-11-21 10:00:05+00' END, 'answered 500', '')",
        (webhook_id, message, state, state),
    )


def only(report):
    (webhook,) = report.webhooks
    return webhook


def test_before_any_daemon_ran(status):
    report = status("w")
    assert (report.daemon, report.daemon_since) == (None, None)
    assert report.log_bytes > 0
    assert (only(report).name, only(report).state, only(report).backlog) == ("w", "new", 0)
    assert "not started yet" in only(report).summary


def test_who_leads(status, admin):
    leads(admin)
    report = status("w")
    assert report.daemon == "shop-db-1 pid 7"
    assert report.daemon_since is not None
    assert report.daemon_since.tzname() == "UTC"


def test_up_to_date_and_with_a_backlog(status, admin):
    started(admin, "w")
    assert only(status("w")).summary == "no daemon runs; nothing waits"
    write(admin, 3)
    webhook = only(status("w"))
    assert webhook.backlog == 3
    assert webhook.lag_s > 0
    assert webhook.summary == "no daemon runs; up to 3 changes wait"
    leads(admin)
    assert only(status("w")).summary.startswith("delivering: up to 3 changes wait, the oldest for ")


def test_one_change_waits(status, admin):
    started(admin, "w")
    write(admin, 1)
    assert only(status("w")).summary == "no daemon runs; up to 1 change waits"


def test_what_was_rolled_back_or_still_runs_does_not_wait(status, admin, database):
    started(admin, "w")
    with psycopg.connect(database) as writer:
        write(writer, 5)
        assert (only(status("w")).backlog, only(status("w")).lag_s) == (0, 0)
        writer.rollback()
    leads(admin)
    assert (only(status("w")).backlog, only(status("w")).summary) == (0, "up to date")


def test_the_backlog_is_each_webhooks_own(status, admin):
    ahead, _ = started(admin, "ahead", "behind")
    write(admin, 2)
    (tick,) = tick_of(admin)
    stands_at(admin, ahead, tick)
    assert [webhook.backlog for webhook in status("behind", "ahead").webhooks] == [2, 0]


def test_a_failing_one_says_why_and_when_it_goes_on(status, admin):
    (webhook_id,) = started(admin, "w")
    write(admin, 2)
    leads(admin)
    failed(admin, webhook_id, "m1", "pending")
    webhook = only(status("w"))
    assert webhook.summary == (
        "failing: answered 500; tried 3 times, next attempt at 10:00:05 UTC; up to 2 changes wait"
    )
    assert f"{webhook.next_attempt_at:%Y-%m-%d %H:%M:%S %Z}" == "2026-11-21 10:00:05 UTC"


def test_dead_letters_and_gaps_are_counted_and_named(status, admin):
    (webhook_id,) = started(admin, "w")
    failed(admin, webhook_id, "m1", "dead")
    failed(admin, webhook_id, "m2", "dead")
    gap = {"webhook_id": webhook_id, "after_id": 1, "upto_id": 9, "reason": "a rebase", "told": False, "generation": 0}
    admin.execute(_SQL["add_gap"], gap)
    leads(admin)
    webhook = only(status("w"))
    assert (webhook.dead_letters, webhook.gaps) == (2, 1)
    assert webhook.summary == "up to date; 2 dead letters; 1 gap: changes that it may not have got"


@pytest.mark.parametrize(
    ("letters", "held", "said"),
    [
        (1, 1, "1 dead letter; 1 held delivery waits for it"),
        (2, 3, "2 dead letters; 3 held deliveries wait for them"),
        (0, 1, "1 held delivery waits for nothing any more: cdc-hooks deliveries resend --webhook w --state held"),
    ],
)
def test_what_is_held_is_told_from_dead_letters(status, admin, letters, held, said):
    (webhook_id,) = started(admin, "w")
    for n, state in enumerate(["rejected"] * letters + ["held"] * held):
        failed(admin, webhook_id, f"m{n}", state)
    leads(admin)
    webhook = only(status("w"))
    assert (webhook.dead_letters, webhook.held) == (letters, held)
    assert webhook.summary == f"up to date; {said}"


def test_what_is_noted_is_shown(status, admin):
    (webhook_id,) = started(admin, "w")
    note = {
        "state": "retrying",
        "delivered": 7,
        "last_success_at": None,
        "last_error_at": "2026-11-21",
        "last_error": "x",
    }
    admin.execute(_SQL["note_webhook"], {"webhook_id": webhook_id, "generation": 0, **note})
    webhook = only(status("w"))
    assert (webhook.state, webhook.delivered, webhook.last_error) == ("retrying", 7, "x")
    assert (webhook.last_success_at, webhook.last_error_at is None) == (None, False)


def test_webhooks_that_are_no_longer_configured(status, admin):
    gone, retired, _ = started(admin, "gone", "retired", "w")
    admin.execute(_SQL["set_webhook_state"], {"webhook_id": retired, "state": "retired", "generation": 0})
    report = status("w")
    assert [webhook.name for webhook in report.webhooks] == ["w", "gone"]
    assert report.webhooks[1].summary.startswith("no longer configured")
    assert gone
    (back,) = (webhook for webhook in status("retired", "w").webhooks if webhook.name == "retired")
    assert back.summary.startswith("retired while it was not configured")


def test_statistics_add_up_by_the_hour(status, admin):
    (webhook_id, _) = started(admin, "w", "quiet")
    counted = Sums()
    counted.attempted(0.015, delivered=True)
    counted.attempted(0.03, delivered=False)
    counted.deliveries = 1
    for _ in range(2):
        admin.execute(_SQL["note_hour"], {"webhook_id": webhook_id, "generation": 0, **asdict(counted)})
    for age in ("5 hours", "20 days", "40 days"):
        admin.execute(
            "INSERT INTO cdc_hooks.webhook_hour SELECT webhook_id, hour - %s::interval, 10, 10, 0, 1, 0.025, buckets"
            " FROM cdc_hooks.webhook_hour WHERE hour > now() - interval '1 hour'",
            (age,),
        )
    webhook, quiet = status("w", "quiet").webhooks
    hour, day, month = (webhook.statistics[span] for span in ("hour", "day", "month"))
    assert [one.deliveries for one in (hour, day, month)] == [2, 12, 22]
    assert (hour.success_rate, hour.mean_s) == (0.5, pytest.approx(0.0225))
    assert 0.02 < hour.p95_s <= hour.longest_s == pytest.approx(0.03)
    assert quiet.statistics == {}
    admin.execute(_SQL["trim_hours"])
    assert admin.execute("SELECT count(*) FROM cdc_hooks.webhook_hour").fetchone() == (3,)


def test_a_paused_one_says_since_when_and_why_and_how_to_go_on(status, admin):
    (webhook_id,) = started(admin, "w")
    admin.execute(
        _SQL["pause_webhook"], {"webhook_id": webhook_id, "by": "policy", "why": "answered 410", "generation": 0}
    )
    webhook = only(status("w"))
    assert webhook.state == "paused"
    assert "answered 410" in webhook.summary
    assert webhook.summary.endswith("when it is mended, run: cdc-hooks resume w")
