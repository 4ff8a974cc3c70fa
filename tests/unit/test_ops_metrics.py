"""What is counted when, and that a webhook's series end with it."""

import time
from datetime import UTC, datetime

import pytest
from prometheus_client import generate_latest

from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.model import Action, Change, Message
from cdc_hooks.ops.health import Health
from cdc_hooks.ops.metrics import STATES, Metrics
from cdc_hooks.ops.notices import Notices


def message(*, events=2, age_s=0.0):
    at = datetime.fromtimestamp(time.time() - age_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
    return Message("m", b"{}", "public.orders", Action.UPDATE, events, "1-1", "1-2", at)


def change(table, action):
    return Change(1, table, action, b"1", None, b"2026-11-21T10:00:00.123456Z", b"{}", False)


class Watched:
    def __init__(self):
        self.metrics = Metrics()
        self.health = Health(self.metrics, Notices(self.metrics))
        self.health.watch("w")

    def value(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def watched():
    return Watched()


def test_reading_is_counted_by_table_and_action(watched):
    orders, items = "public.orders", 'public."Order Items"'
    watched.metrics.read({(orders, Action.INSERT): 1, (orders, Action.UPDATE): 1, (items, Action.UPDATE): 1})
    watched.metrics.read({(orders, Action.INSERT): 1})
    watched.metrics.read({})
    assert watched.value("cdc_hooks_changes_read_total", table=orders, action="insert") == 2
    assert watched.value("cdc_hooks_changes_read_total", table=orders, action="update") == 1
    assert watched.value("cdc_hooks_changes_read_total", table=items, action="update") == 1
    assert watched.value("cdc_hooks_changes_read_total", table=items, action="insert") is None


def test_the_series_of_a_webhook_exist_before_anything_happens(watched):
    """A rate of a series that begins at 1 misses the first event."""
    for outcome in ("delivered", "dead_letter"):
        assert watched.value("cdc_hooks_deliveries_total", webhook="w", outcome=outcome) == 0
    assert watched.value("cdc_hooks_attempts_total", webhook="w", outcome="delivered") == 0
    assert watched.value("cdc_hooks_changes_delivered_total", webhook="w") == 0
    assert watched.value("cdc_hooks_commit_to_delivery_seconds_count", webhook="w") == 0


@pytest.mark.parametrize(
    ("outcome", "label"),
    [
        (Outcome(status=503), "5xx"),
        (Outcome(status=404), "4xx"),
        (Outcome(status=302, error=Failure.REDIRECT), "redirect"),
        (Outcome(error=Failure.TIMEOUT), "timeout"),
    ],
)
def test_an_attempt_is_counted_by_what_became_of_it(watched, outcome, label):
    watched.health.attempted("w", outcome, delivered=False)
    watched.health.attempted("w", outcome, delivered=False)
    assert watched.value("cdc_hooks_attempts_total", webhook="w", outcome=label) == 2
    assert watched.value("cdc_hooks_attempts_total", webhook="w", outcome="delivered") == 0


def test_a_delivery_is_counted_with_its_changes_and_its_age(watched):
    watched.health.attempted("w", Outcome(status=200, duration_s=0.02), delivered=True)
    watched.health.delivered("w", message(events=7, age_s=3600))
    watched.health.delivered("w", message(events=1, age_s=-3600))  # the server's clock is ahead of ours
    assert watched.value("cdc_hooks_attempts_total", webhook="w", outcome="delivered") == 1
    assert watched.value("cdc_hooks_attempt_duration_seconds_sum", webhook="w") == 0.02
    assert watched.value("cdc_hooks_deliveries_total", webhook="w", outcome="delivered") == 2
    assert watched.value("cdc_hooks_changes_delivered_total", webhook="w") == 8
    assert watched.value("cdc_hooks_commit_to_delivery_seconds_bucket", webhook="w", le="0.001") == 1
    assert watched.value("cdc_hooks_commit_to_delivery_seconds_bucket", webhook="w", le="1800.0") == 1
    assert watched.value("cdc_hooks_commit_to_delivery_seconds_bucket", webhook="w", le="7200.0") == 2


def test_news_of_a_gap_has_no_age(watched):
    watched.health.delivered("w", message(events=0)._replace(first_at=None, action="gap"))
    assert watched.value("cdc_hooks_commit_to_delivery_seconds_count", webhook="w") == 0
    assert watched.value("cdc_hooks_deliveries_total", webhook="w", outcome="delivered") == 1


def test_exactly_one_state_at_a_time(watched):
    def states():
        return [s for s in STATES if watched.value("cdc_hooks_webhook_state", webhook="w", state=s) == 1]

    assert states() == ["active"]
    for state in ("retrying", "open", "paused", "active"):
        watched.health.turned("w", state, None)
        assert states() == [state]


def test_what_is_given_up_on_is_a_dead_letter_unless_it_is_dropped(watched):
    watched.health.gave_up("w", message(), "answered 500", dropped=False)
    watched.health.gave_up("w", message(), "answered 500", dropped=True)
    assert watched.value("cdc_hooks_dead_letters", webhook="w") == 1
    for outcome in ("dead_letter", "dropped"):
        assert watched.value("cdc_hooks_deliveries_total", webhook="w", outcome=outcome) == 1


def test_a_webhook_that_is_forgotten_has_no_series_and_may_come_again(watched):
    watched.health.watch("other")
    for name in ("w", "other"):
        watched.health.attempted(name, Outcome(status=500), delivered=False)
        watched.health.delivered(name, message())
        watched.health.gave_up(name, message(), "answered 500", dropped=False)
        watched.metrics.backlog.labels(name).set(3)
        watched.metrics.lag.labels(name).set(3)
    watched.health.forget("w")
    watched.health.forget("w")
    text = generate_latest(watched.metrics.registry).decode()
    assert 'webhook="w"' not in text
    assert 'webhook="other"' in text
    watched.health.watch("w")
    watched.health.delivered("w", message())
    assert watched.value("cdc_hooks_deliveries_total", webhook="w", outcome="delivered") == 1


def test_a_standby_tells_nothing_that_only_the_leader_knows(watched):
    metrics = watched.metrics
    metrics.leading.set(1)
    metrics.backlog.labels("w").set(3)
    metrics.capture_healthy.labels("public.orders").set(1)
    watched.health.delivered("w", message())
    metrics.stand_by()
    assert watched.value("cdc_hooks_leading") == 0
    for name in ("backlog_changes", "lag_seconds", "dead_letters"):
        assert watched.value(f"cdc_hooks_{name}", webhook="w") is None
    assert watched.value("cdc_hooks_webhook_state", webhook="w", state="active") is None
    assert watched.value("cdc_hooks_capture_healthy", table="public.orders") is None
    assert watched.value("cdc_hooks_changes_delivered_total", webhook="w") == 2  # a counter counts on

    watched.health.watch("w")  # it leads again
    assert watched.value("cdc_hooks_webhook_state", webhook="w", state="active") == 1


def test_no_series_say_when_a_counter_was_made(watched):
    assert "_created" not in generate_latest(watched.metrics.registry).decode()


def test_what_is_taken_is_taken_once(watched):
    watched.health.take()
    assert watched.health.take() == {}
    watched.health.delivered("w", message(events=3))
    watched.health.failing("w", "answered \0 500")
    watched.health.turned("w", "retrying", None)
    taken = watched.health.take()["w"]
    assert (taken["state"], taken["delivered"], taken["last_error"]) == ("retrying", 3, "answered \ufffd 500")
    assert taken["last_success_at"] <= taken["last_error_at"]
    watched.health.delivered("w", message(events=1))
    assert watched.health.take()["w"]["delivered"] == 1
