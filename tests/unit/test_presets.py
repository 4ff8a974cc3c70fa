"""Each preset, from the line in the configuration to what follows each failed attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_hooks.assembly import Plan
from cdc_hooks.config.load import parse
from cdc_hooks.config.policy import Preset
from cdc_hooks.deliver.outcome import Failure, Outcome
from cdc_hooks.deliver.policy import Decision, Delivered, Drop, GiveUp, History, Pause, Policy, RetryAt, Split, decide

FILE = """
database: {{dsn: dbname=shop}}
webhooks:
  w: {{url: https://a.example/, secret: 0123456789abcdef, tables: [public.orders], preset: {preset}}}
"""
MINUTE, HOUR = 60.0, 3600.0
WAITS = {
    Preset.FIRE_AND_FORGET: [5.0],
    Preset.FIVE_STRIKES: [MINUTE] * 4,
    Preset.PATIENT: [MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 12 * HOUR],
}
ENDS = {Preset.FIRE_AND_FORGET: Drop, Preset.FIVE_STRIKES: Pause, Preset.PATIENT: GiveUp}
FAILURES = [
    *(Outcome(status=status) for status in (302, 400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 504)),
    *(Outcome(error=error, detail="x") for error in Failure),
]


def plan(preset: Preset) -> Plan:
    config = parse(FILE.format(preset=preset.value), Path("config.yaml"), {})
    return Plan.of("w", config.webhooks["w"], "installation")


def course(policy: Policy, events: int, outcome: Outcome, *, others: bool) -> tuple[list[float], Decision]:
    """The waits of a batch whose attempts all fail so, and what then becomes of it."""
    waits: list[float] = []
    while True:
        failed = len(waits)
        history = History(failed + 1, failed, events, others_get_through=others, failures=failed)
        decision = decide(policy, history, outcome, 0.0, 0.0)
        if not isinstance(decision, RetryAt):
            return waits, decision
        assert decision.counts
        waits.append(decision.at)


@pytest.mark.parametrize("preset", Preset)
@pytest.mark.parametrize("outcome", FAILURES, ids=lambda one: str(one.status or one.error))
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("events", [1, 100])
def test_a_batch_is_tried_as_often_as_the_preset_says_whatever_is_answered(preset, outcome, others, events):
    waits, end = course(plan(preset).policy, events, outcome, others=others)
    if outcome.status == 413 and events > 1:
        assert (waits, end) == ([], Split())
    else:
        assert waits == WAITS[preset]
        assert isinstance(end, ENDS[preset])


def test_what_is_a_success():
    def successes(preset: Preset) -> set[int]:
        policy, history = plan(preset).policy, History(1, 0, 1, others_get_through=False)
        answers = {status: decide(policy, history, Outcome(status=status), 0.0, 0.0) for status in range(200, 600)}
        return {status for status, decision in answers.items() if isinstance(decision, Delivered)}

    assert successes(Preset.FIVE_STRIKES) == {200, 201}
    assert successes(Preset.FIRE_AND_FORGET) == successes(Preset.PATIENT) == set(range(200, 300))


def test_what_else_a_preset_says():
    webhooks = {preset: plan(preset).webhook for preset in Preset}
    timeouts = {preset: (one.timeout.connect, one.timeout.total) for preset, one in webhooks.items()}
    assert timeouts == {**dict.fromkeys(Preset, (5, 20)), Preset.FIRE_AND_FORGET: (5, 5)}
    pauses = {preset: one.pause_after for preset, one in webhooks.items()}
    assert pauses == {**dict.fromkeys(Preset), Preset.PATIENT: 10}
    # No breaker, no probing: who was deactivated stays so, and every failure counts.
    assert all(plan(preset).gate.breaker is None and plan(preset).gate.probe_paused_s is None for preset in Preset)
