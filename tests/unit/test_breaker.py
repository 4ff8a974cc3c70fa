"""When a webhook is held back, and when it is tried again."""

from __future__ import annotations

import pytest

from cdc_hooks.deliver.breaker import Breaker, BreakerRules

RULES = BreakerRules(failures=3, rate=0.5, pause_s=10, longest_pause_s=60)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(RULES)
    assert [breaker.failed(now, None) for _ in range(3)] == [False, False, True]
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    assert opened().open_until == 10


def test_a_success_begins_the_row_anew() -> None:
    breaker = Breaker(RULES)
    for _ in range(5):
        assert not breaker.failed(0, None)
        assert not breaker.failed(0, None)
        assert not breaker.succeeded(0)
    assert not breaker.is_open


def test_each_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(6):
        assert breaker.open_until is not None
        pauses.append(breaker.open_until - now)
        now = breaker.open_until
        assert not breaker.failed(now, None, probe=True)
    assert pauses == [10, 20, 40, 60, 60, 60]


def test_jitter_makes_a_pause_longer() -> None:
    breaker = opened()
    breaker.failed(10, None, jitter=0.2, probe=True)
    assert breaker.open_until == 10 + 24


def test_a_success_closes_it_and_the_next_outage_begins_with_the_first_pause() -> None:
    breaker = opened()
    breaker.failed(10, None, probe=True)
    assert breaker.succeeded(30)
    assert not breaker.is_open
    assert [breaker.failed(40, None) for _ in range(3)] == [False, False, True]
    assert breaker.open_until == 50


def test_one_batch_alone_may_be_poisonous_and_opens_nothing() -> None:
    breaker = Breaker(RULES)
    assert not any(breaker.failed(n, "a") for n in range(50))
    assert breaker.failed(50, "b")


def test_one_batch_that_shows_that_the_endpoint_is_sick_opens_it() -> None:
    breaker = Breaker(RULES)
    assert [breaker.failed(0, suspect) for suspect in ("a", "a", None)] == [False, False, True]


@pytest.mark.parametrize(("good", "opens"), [(9, True), (12, False)])
def test_it_opens_when_too_many_of_the_last_minute_failed(good: int, opens: bool) -> None:
    breaker = Breaker(BreakerRules(failures=1000, rate=0.5))
    for n in range(good):
        breaker.succeeded(n)
    assert any(breaker.failed(20, None) for _ in range(11)) is opens


def test_a_few_requests_are_no_rate() -> None:
    breaker = Breaker(BreakerRules(failures=1000, rate=0.5))
    assert not any(breaker.failed(0, None) for _ in range(19))
    assert breaker.failed(0, None)


@pytest.mark.parametrize("later", [60, 70, 1e6])
def test_what_is_older_than_a_minute_does_not_count(later: float) -> None:
    breaker = Breaker(BreakerRules(failures=1000, rate=0.5))
    for _ in range(19):
        breaker.failed(5, None)
    assert not breaker.failed(5 + later, None)


def test_what_failed_before_an_outage_does_not_open_it_again() -> None:
    breaker = Breaker(BreakerRules(failures=1000, rate=0.5))
    while not breaker.failed(0, None):
        pass
    assert breaker.succeeded(1)
    assert not breaker.failed(2, None)


def test_what_was_under_way_when_it_opened_does_not_make_the_pause_longer() -> None:
    breaker = opened()
    for _ in range(16):
        assert not breaker.failed(1, None)
    assert breaker.open_until == 10


# -- changes that are refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "refused_before_it_opens"), [(0, 3), (1, 4), (100, 103), (500, 503), (10_000, 503)]
)
def test_as_many_changes_may_be_refused_as_were_accepted_up_to_a_bound(accepted: int, refused_before_it_opens) -> None:
    breaker = Breaker(RULES)
    breaker.succeeded(0, accepted)
    refused = 1
    while not breaker.refused(1):
        refused += 1
    assert refused == refused_before_it_opens


@pytest.mark.parametrize(("later", "opens"), [(59, False), (60, True), (1e6, True)])
def test_what_was_accepted_a_minute_ago_does_not_count_any_more(later: float, opens: bool) -> None:
    breaker = Breaker(RULES)
    breaker.succeeded(0, 100)
    assert any(breaker.refused(later) for _ in range(3)) is opens


def test_what_is_accepted_adds_up_while_it_goes_on() -> None:
    breaker = Breaker(RULES)
    for n in range(30):
        breaker.succeeded(n, 10)
    assert not any(breaker.refused(30) for _ in range(300))
    assert [breaker.refused(30) for _ in range(3)] == [False, False, True]


def test_a_refusal_that_only_tried_whether_it_is_well_again_makes_the_pause_longer() -> None:
    breaker = Breaker(RULES)
    breaker.succeeded(0, 100)
    for _ in range(3):
        breaker.failed(1)
    assert not breaker.refused(11, probe=True)
    assert breaker.open_until == 11 + 20


def test_refusals_of_a_trusted_endpoint_do_not_end_a_row_of_failures() -> None:
    breaker = Breaker(RULES)
    breaker.succeeded(0, 100)
    assert [breaker.failed(1), breaker.failed(1), breaker.refused(1), breaker.failed(1)] == [False, False, False, True]
