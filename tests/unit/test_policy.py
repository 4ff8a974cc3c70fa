"""What follows an attempt: a table of outcomes, and the pure decisions about them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import (
    Delivered,
    Drop,
    Fault,
    GiveUp,
    History,
    Pause,
    Policy,
    RetryAt,
    Split,
    classify,
    decide,
    fault_of,
    retry_after_s,
)

NOW = 1_795_255_200.0  # Sat, 21 Nov 2026 10:00:00 GMT
POLICY = Policy((5, 60, 300), jitter=0.2, retry_after_cap_s=3600)
PATIENT = Policy((5, 60, 300), patience_s=30)
ONE, MANY = History(1, 0, 1, others_get_through=False), History(1, 0, 100, others_get_through=False)
FAILED = Outcome(status=503)


def after(attempts: int, history: History = ONE, **more) -> History:
    """Having failed so often, all of it counted."""
    return history._replace(attempts=attempts, counted=attempts - 1, failures=attempts - 1, **more)


def retry(at: float, *, counts: bool = True) -> object:
    """A decision to try again at this time, whatever the schedule says of the attempt after that."""

    class Again(RetryAt):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, RetryAt) and (other.at, other.counts) == (self.at, self.counts)

        __hash__ = None  # type: ignore[assignment]

    return Again(at, counts)


# -- whose fault it is ----------------------------------------------------------------------------------------------

ENDPOINT = [*range(100, 200), *range(200, 400), 401, 405, 407, 408, 425, 429, 431, 502, 503, 504, 507, *range(520, 531)]


@pytest.mark.parametrize(
    ("statuses", "fault"),
    [
        (ENDPOINT, Fault.ENDPOINT),
        ([400, 422], Fault.CONTENT),
        ([413], Fault.SIZE),
        ([410], Fault.GONE),
        ([402, 403, 404, 406, 409, 411, 412, 415, 418, 421, 423, 424, 426, 428, 451, 499], Fault.UNCLEAR),
        ([500, 501, 505, 506, 508, 510, 511, 531, 599, 600, 999], Fault.UNCLEAR),
    ],
)
def test_whose_fault_a_status_is(statuses: list[int], fault: Fault) -> None:
    assert {status: fault_of(Outcome(status=status)) for status in statuses} == dict.fromkeys(statuses, fault)


def test_no_status_of_4xx_and_5xx_is_forgotten() -> None:
    assert all(isinstance(fault_of(Outcome(status=status)), Fault) for status in range(400, 600))
    assert fault_of(Outcome(status=204)) is Fault.ENDPOINT  # where only 200 counts


@pytest.mark.parametrize(
    ("failure", "fault"),
    [
        *[(one, Fault.ENDPOINT) for one in Failure if one not in {Failure.OTHER, Failure.PROXY, Failure.FORBIDDEN}],
        (Failure.OTHER, Fault.UNCLEAR),
        (Failure.PROXY, Fault.WAY),
        (Failure.FORBIDDEN, Fault.WAY),
    ],
)
def test_whose_fault_no_answer_is(failure: Failure, fault: Fault) -> None:
    assert fault_of(Outcome(error=failure)) is fault


# -- success --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
@pytest.mark.parametrize("attempts", [1, 4, 99])
def test_success_is_delivered(status: int, attempts: int) -> None:
    assert decide(POLICY, after(attempts), Outcome(status=status), NOW, 0.5) == Delivered()


@pytest.mark.parametrize(("status", "delivered"), [(200, True), (201, True), (202, False), (204, False), (409, True)])
def test_what_counts_as_success_is_a_choice(status: int, delivered: bool) -> None:
    policy = Policy((5,), success=frozenset({200, 201, 409}))
    assert isinstance(decide(policy, ONE, Outcome(status=status), NOW, 0.0), Delivered) is delivered


# -- trying again ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [101, 199, 300, 302, 304, 401, 403, 404, 429, 500, 503, 599, 600])
@pytest.mark.parametrize("history", [ONE, MANY])
def test_other_answers_are_tried_again(status: int, history: History) -> None:
    assert decide(POLICY, history, Outcome(status=status), NOW, 0.0) == retry(NOW + 5)


@pytest.mark.parametrize("failure", Failure)
def test_no_answer_is_tried_again(failure: Failure) -> None:
    assert decide(POLICY, ONE, Outcome(error=failure), NOW, 0.0) == retry(NOW + 5)


def test_the_schedule_is_followed_to_its_end() -> None:
    decisions = [decide(POLICY, after(attempts), FAILED, NOW, 0.0) for attempts in (1, 2, 3, 4, 5)]
    assert decisions[:3] == [retry(NOW + 5), retry(NOW + 60), retry(NOW + 300)]
    assert decisions[3:] == [
        GiveUp("given up on after 4 attempts: answered 503"),
        GiveUp("given up on after 5 attempts: answered 503"),
    ]


def test_the_last_pause_repeats_for_more_attempts() -> None:
    policy = Policy((5, 60), max_attempts=5)
    waits = [decide(policy, after(attempts), FAILED, NOW, 0.0) for attempts in (1, 2, 3, 4)]
    assert waits == [retry(NOW + 5), retry(NOW + 60), retry(NOW + 60), retry(NOW + 60)]
    assert isinstance(decide(policy, after(5), FAILED, NOW, 0.0), GiveUp)


def test_fewer_attempts_than_pauses() -> None:
    policy = Policy((5, 60, 300), max_attempts=2)
    assert isinstance(decide(policy, after(2), FAILED, NOW, 0.0), GiveUp)


@pytest.mark.parametrize(("on_exhausted", "kind"), [("dead_letter", GiveUp), ("pause", Pause), ("drop", Drop)])
def test_what_follows_the_last_attempt(on_exhausted, kind) -> None:
    policy = Policy((), on_exhausted=on_exhausted)
    assert decide(policy, ONE, FAILED, NOW, 0.0) == kind("given up on after 1 attempt: answered 503")


def test_a_sick_endpoint_uses_up_no_attempts_where_a_breaker_cares_for_it() -> None:
    decision = decide(PATIENT, after(99), FAILED, NOW, 0.0)
    assert decision == retry(NOW + 30, counts=False)
    assert isinstance(decide(PATIENT, after(99), Outcome(status=500), NOW, 0.0), GiveUp)


@pytest.mark.parametrize("status", [500, 404, 503])
@pytest.mark.parametrize("policy", [POLICY, PATIENT])
def test_what_only_tries_if_the_endpoint_is_well_uses_up_no_attempts_but_those_that_are_due(policy, status) -> None:
    probe = after(99, probing=True, due=False)
    assert decide(policy, probe, Outcome(status=status), NOW, 0.0) == retry(NOW, counts=False)
    due = decide(policy, probe._replace(due=True), Outcome(status=status), NOW, 0.0)
    assert isinstance(due, RetryAt if policy is PATIENT and status == 503 else GiveUp)


def test_an_attempt_that_counts_says_when_the_next_one_does() -> None:
    decision = decide(PATIENT, after(3, probing=True), Outcome(status=500), NOW, 0.0)
    assert (decision.at, decision.counts, decision.due) == (NOW, True, NOW + 300)


def test_failures_of_the_endpoint_do_not_lengthen_the_schedule_of_a_batch() -> None:
    history = History(6, 0, 1, others_get_through=False, failures=5)
    assert decide(PATIENT, history, Outcome(status=500), NOW, 0.0) == retry(NOW + 5)


@pytest.mark.parametrize("schedule", [(), (5,)])
def test_patience_needs_no_schedule(schedule) -> None:
    decision = decide(Policy(schedule, patience_s=30), after(3), FAILED, NOW, 0.0)
    assert decision == retry(NOW + (5 if schedule else 30), counts=False)


def test_jitter_adds_up_to_its_part_and_never_takes_away() -> None:
    waits = []
    for step in range(11):
        decision = decide(POLICY, after(2), FAILED, NOW, step / 10)
        assert isinstance(decision, RetryAt)
        waits.append(decision.at - NOW)
    assert waits[0] == 60
    assert waits[-1] == pytest.approx(72)
    assert all(a < b for a, b in pairwise(waits))
    assert max(waits) <= POLICY.longest_wait_s


# -- the batch may be to blame --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("probing", [True, False])
def test_what_is_refused_is_split_down_to_the_change_that_is_to_blame(status: int, probing: bool) -> None:
    refused = Outcome(status=status)
    assert decide(POLICY, MANY._replace(probing=probing), refused, NOW, 0.0) == Split()
    assert decide(POLICY, MANY._replace(events=2), refused, NOW, 0.0) == Split()
    assert decide(POLICY, ONE._replace(probing=probing), refused, NOW, 0.0) == GiveUp(
        f"answered {status}", rejected=True
    )


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_batch_that_fails_for_itself_is_split_after_three_attempts(status: int) -> None:
    outcome = Outcome(status=status)
    assert isinstance(decide(POLICY, after(2, MANY), outcome, NOW, 0.0), RetryAt)
    assert decide(POLICY, after(3, MANY), outcome, NOW, 0.0) == Split()


def test_a_change_that_fails_alone_is_set_aside_when_others_get_through() -> None:
    outcome = Outcome(status=500)
    reason = "answered 500, while others get through"
    assert isinstance(decide(POLICY, after(3), outcome, NOW, 0.0), RetryAt)
    assert isinstance(decide(POLICY, after(2, others_get_through=True), outcome, NOW, 0.0), RetryAt)
    assert decide(POLICY, after(3, others_get_through=True), outcome, NOW, 0.0) == GiveUp(reason, rejected=True)


def test_what_makes_a_receiver_break_is_found_while_the_endpoint_seems_sick_too() -> None:
    """A row at which it breaks looks like that, when all else has to wait for it."""
    assert decide(PATIENT, after(3, MANY, probing=True, due=False), Outcome(status=500), NOW, 0.0) == Split()
    assert decide(PATIENT, after(6, MANY, probing=True, due=False), FAILED, NOW, 0.0) == Split()
    assert isinstance(decide(POLICY, after(6, MANY), FAILED, NOW, 0.0), GiveUp)  # it counts, and is exhausted
    for probing in (False, True):
        alone = decide(PATIENT, after(6, others_get_through=True, probing=probing), FAILED, NOW, 0.0)
        assert alone == GiveUp("answered 503, while others get through", rejected=True)


def test_a_batch_is_split_rather_than_given_up_on_whole_while_others_get_through() -> None:
    short = Policy((5,))
    outcome = Outcome(status=500)
    assert decide(short, after(2, MANY, others_get_through=True), outcome, NOW, 0.0) == Split()
    assert isinstance(decide(short, after(2, MANY), outcome, NOW, 0.0), GiveUp)


@pytest.mark.parametrize("outcome", [FAILED, Outcome(error=Failure.TIMEOUT), Outcome(error=Failure.RESET)])
def test_a_sick_endpoint_splits_nothing(outcome: Outcome) -> None:
    assert isinstance(decide(PATIENT, after(3, MANY, others_get_through=True), outcome, NOW, 0.0), RetryAt)


@pytest.mark.parametrize("history", [ONE, MANY, after(7)])
def test_an_endpoint_that_is_gone_pauses_its_webhook(history: History) -> None:
    assert decide(POLICY, history, Outcome(status=410), NOW, 0.0) == Pause("answered 410")


# -- Retry-After ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, 5),
        ("", 5),
        ("2", 5),
        ("30", 30),
        (" 30 ", 30),
        ("999999999999999999999999", 3600),
        ("Sat, 21 Nov 2026 10:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 10:00:30 -0000", 30),
        ("Saturday, 21-Nov-26 10:00:30 GMT", 30),
        ("Sat Nov 21 10:00:30 2026", 30),
        ("Sat, 21 Nov 2026 09:00:00 GMT", 5),
        ("Sat, 21 Nov 2099 10:00:30 GMT", 3600),
        ("soon", 5),
        ("-30", 5),
        ("1e3", 5),
        ("30.5", 5),
        ("٣٠", 5),
        ("NaN", 5),
        ("inf", 5),
        ("Sat, 99 Nov 2026 10:00:30 GMT", 5),
        ("Sat, 21 Nov 99999 10:00:30 GMT", 5),
        ("Sat, 01 Jan 0000 00:00:00 GMT", 5),
        ("Sat, 21 Nov 2026 10:00:30 +9999", 5),
    ],
)
def test_retry_after(header: str | None, wait: float) -> None:
    assert decide(POLICY, ONE, Outcome(status=429, retry_after=header), NOW, 0.0) == retry(NOW + wait)


def test_the_later_of_schedule_and_retry_after_counts() -> None:
    assert decide(POLICY, after(3), Outcome(status=503, retry_after="30"), NOW, 0.0) == retry(NOW + 300)


def test_retry_after_prolongs_no_exhausted_schedule() -> None:
    assert isinstance(decide(POLICY, after(4), Outcome(status=503, retry_after="30"), NOW, 0.0), GiveUp)


def test_a_wait_is_never_negative() -> None:
    assert retry_after_s("Thu, 01 Jan 1970 00:00:00 GMT", NOW) == 0


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(status=503), "answered 503"),
        (Outcome(error=Failure.TIMEOUT, detail="no answer within 20 s"), "no answer within 20 s"),
        (
            Outcome(status=301, error=Failure.REDIRECT, location="https://b.example/"),
            "redirected to https://b.example/ (redirects are not followed)",
        ),
        (Outcome(error=Failure.CONNECT, detail="connection refused"), "connection refused"),
        (Outcome(error=Failure.RESET, detail="connection reset by peer"), "connection reset by peer"),
        (Outcome(error=Failure.TLS, detail="certificate verify failed: x"), "TLS: certificate verify failed: x"),
        (Outcome(error=Failure.PROTOCOL, detail="Bad status line"), "not an HTTP answer: Bad status line"),
        (Outcome(error=Failure.PROXY, detail="answered 407"), "proxy: answered 407"),
        (Outcome(error=Failure.OTHER, detail="ValueError: x"), "ValueError: x"),
    ],
)
def test_what_happened_in_words(outcome: Outcome, words: str) -> None:
    assert classify(outcome) == words
