"""What happens after an attempt."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import Delivered, GiveUp, Policy, RetryAt, classify, decide, retry_after_s

NOW = 1_795_255_200.0  # 2026-11-21 10:00:00 UTC
POLICY = Policy((5.0, 60.0, 300.0), jitter=0.2, retry_after_cap_s=3600)
FAILED = Outcome(status=503)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("attempts", [1, 4, 99])
def test_success_is_delivered(status: int, attempts: int) -> None:
    assert decide(POLICY, attempts, Outcome(status=status), NOW, 0.5) == Delivered()


@pytest.mark.parametrize("status", [101, 300, 302, 304, 400, 404, 410, 413, 422, 429, 500, 503, 599])
def test_any_other_answer_is_tried_again(status: int) -> None:
    assert decide(POLICY, 1, Outcome(status=status), NOW, 0.0) == RetryAt(NOW + 5)


@pytest.mark.parametrize("failure", Failure)
def test_no_answer_is_tried_again(failure: Failure) -> None:
    assert decide(POLICY, 1, Outcome(error=failure), NOW, 0.0) == RetryAt(NOW + 5)


def test_the_schedule_is_followed_to_its_end() -> None:
    decisions = [decide(POLICY, attempts, FAILED, NOW, 0.0) for attempts in (1, 2, 3, 4, 5)]
    assert decisions[:3] == [RetryAt(NOW + 5), RetryAt(NOW + 60), RetryAt(NOW + 300)]
    assert decisions[3:] == [
        GiveUp("given up on after 4 attempts: answered 503"),
        GiveUp("given up on after 5 attempts: answered 503"),
    ]


def test_an_empty_schedule_tries_once() -> None:
    assert decide(Policy(()), 1, FAILED, NOW, 0.0) == GiveUp("given up on after 1 attempt: answered 503")


def test_jitter_adds_up_to_its_part_and_never_takes_away() -> None:
    waits = []
    for step in range(11):
        decision = decide(POLICY, 2, FAILED, NOW, step / 10)
        assert isinstance(decision, RetryAt)
        waits.append(decision.at - NOW)
    assert waits[0] == 60
    assert waits[-1] == pytest.approx(72)
    assert all(a < b for a, b in pairwise(waits))


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
    assert decide(POLICY, 1, Outcome(status=429, retry_after=header), NOW, 0.0) == RetryAt(NOW + wait)


def test_the_later_of_schedule_and_retry_after_counts() -> None:
    assert decide(POLICY, 3, Outcome(status=503, retry_after="30"), NOW, 0.0) == RetryAt(NOW + 300)


def test_retry_after_prolongs_no_exhausted_schedule() -> None:
    assert isinstance(decide(POLICY, 4, Outcome(status=503, retry_after="30"), NOW, 0.0), GiveUp)


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
        (Outcome(error=Failure.OTHER, detail="ValueError: x"), "ValueError: x"),
    ],
)
def test_what_happened_in_words(outcome: Outcome, words: str) -> None:
    assert classify(outcome) == words
