"""Who is let through to a webhook's endpoint, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cdc_hooks.deliver.breaker import BreakerRules
from cdc_hooks.deliver.gate import Gate, GateRules

SOON = BreakerRules(failures=2, pause_s=0.5, longest_pause_s=1.0)
LATER = BreakerRules(failures=2, pause_s=3600, longest_pause_s=3600)


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


async def is_let_in(gate: Gate) -> bool:
    """Whether somebody is let in without waiting; he leaves no trace."""
    entering = asyncio.create_task(gate.enter())
    for _ in range(5):
        await asyncio.sleep(0)
    entered = entering.done() and entering.result()
    entering.cancel()
    if entered:
        gate.leave()
    return entered


def make_sick(gate: Gate) -> None:
    for _ in range(2):
        gate.failed()


def test_no_more_than_may_are_inside() -> None:
    async def test() -> None:
        gate = Gate(GateRules(concurrency=2))
        assert await gate.enter()
        assert await gate.enter()
        third = asyncio.create_task(gate.enter())
        assert not await is_let_in(gate)
        gate.leave()
        assert await third

    in_loop(test)


def test_too_many_requests_halve_how_many_may_be_inside_and_success_lets_them_grow() -> None:
    async def test() -> None:
        gate = Gate(GateRules(concurrency=8))
        widths = []
        for _ in range(4):
            gate.failed(too_many=True)
            widths.append(gate._limit)
        assert widths == [4, 2, 1, 1]
        for _ in range(1 + 2 + 3 + 4 + 5 + 6 + 7 + 20):
            gate.succeeded()
        assert gate._limit == 8

    in_loop(test)


def test_a_sick_endpoint_gets_one_probe_at_a_time_and_all_go_on_when_it_is_well() -> None:
    async def test() -> None:
        turns: list[bool] = []
        gate = Gate(GateRules(concurrency=4, breaker=SOON), lambda: turns.append(gate.is_sick))
        make_sick(gate)
        assert not await is_let_in(gate)
        assert await gate.enter()
        assert gate.probing
        assert not await is_let_in(gate)
        others = [asyncio.create_task(gate.enter()) for _ in range(4)]
        gate.succeeded(probe=True)
        gate.leave()
        for _ in range(4):
            done, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            others = [one for one in others if one not in done]
            gate.succeeded()
            for _ in done:
                gate.leave()
        assert not others
        assert turns == [True, False]

    in_loop(test)


def test_the_time_that_an_endpoint_asks_for_holds_back_all() -> None:
    async def test() -> None:
        gate = Gate(GateRules(concurrency=4))
        began = asyncio.get_running_loop().time()
        gate.failed(asked_s=0.2)
        assert not await is_let_in(gate)
        assert await gate.enter()
        assert asyncio.get_running_loop().time() - began >= 0.19

    in_loop(test)


def test_a_rate_is_kept() -> None:
    async def test() -> None:
        gate = Gate(GateRules(concurrency=100, rate=50))
        began = asyncio.get_running_loop().time()
        for _ in range(11):
            assert await gate.enter()
        assert asyncio.get_running_loop().time() - began >= 0.19

    in_loop(test)


def test_after_an_outage_the_rate_is_limited_until_all_is_caught_up() -> None:
    async def test() -> None:
        gate = Gate(GateRules(concurrency=8, breaker=SOON, drain_rate=100))
        make_sick(gate)
        assert await gate.enter()
        gate.succeeded(probe=True)
        gate.leave()
        began = asyncio.get_running_loop().time()
        for _ in range(21):
            assert await gate.enter()
            gate.succeeded()
            gate.leave()
        assert asyncio.get_running_loop().time() - began >= 0.19
        gate.caught_up()
        for _ in range(100):
            assert await is_let_in(gate)

    in_loop(test)


@pytest.mark.parametrize("breaker", [None, LATER])
def test_a_pause_lets_nobody_in_until_it_is_resumed(breaker) -> None:
    async def test() -> None:
        gate = Gate(GateRules(concurrency=4, breaker=breaker))
        inside = await gate.enter()
        gate.pause("maintenance", by_itself=False)
        gate.succeeded()  # of one that was under way
        gate.leave()
        assert inside
        assert gate.paused == "maintenance"
        assert not await is_let_in(gate)
        gate.resume()
        assert await is_let_in(gate)

    in_loop(test)


def test_resuming_does_not_wait_for_anything_else() -> None:
    async def test() -> None:
        gate = Gate(GateRules(concurrency=4, breaker=LATER))
        waiting = asyncio.create_task(gate.wait_until(asyncio.get_running_loop().time() + 3600))
        gate.failed(asked_s=3600)
        make_sick(gate)
        await asyncio.sleep(0)
        gate.resume()
        assert await waiting
        assert await is_let_in(gate)

    in_loop(test)


@pytest.mark.parametrize("by_itself", [True, False])
def test_only_who_paused_by_itself_probes(by_itself: bool) -> None:
    async def test() -> None:
        gate = Gate(GateRules(probe_paused_s=0.2))
        gate.pause("10 in a row", by_itself=by_itself)
        entering = asyncio.create_task(gate.enter())
        done, _ = await asyncio.wait([entering], timeout=10 if by_itself else 0.5)
        assert bool(done) is by_itself
        if by_itself:
            gate.failed(probe=True)
            gate.leave()
            assert not await is_let_in(gate)
            assert await gate.enter()
            gate.succeeded(probe=True)
            gate.leave()
            assert gate.paused is None
        entering.cancel()

    in_loop(test)


@pytest.mark.parametrize("how", ["stop", "hurry"])
def test_who_waits_for_a_sick_endpoint_is_sent_away_at_the_end(how: str) -> None:
    async def test() -> None:
        gate = Gate(GateRules(breaker=LATER))
        waiting = asyncio.create_task(gate.wait_until(asyncio.get_running_loop().time() + 3600))
        make_sick(gate)
        entering = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        getattr(gate, how)()
        assert not await entering
        assert not await waiting

    in_loop(test)


def test_in_a_hurry_who_is_not_held_back_goes_on() -> None:
    async def test() -> None:
        gate = Gate(GateRules(rate=20))
        assert await gate.enter()
        gate.leave()
        gate.hurry()
        assert await gate.enter()
        gate.leave()
        gate.stop()
        assert not await gate.enter()

    in_loop(test)


def test_an_operators_pause_is_ended_by_nobody_else() -> None:
    async def test() -> None:
        gate = Gate(GateRules(concurrency=4, breaker=SOON, probe_paused_s=0.01))
        make_sick(gate)
        assert await gate.enter()  # a probe
        gate.pause("maintenance", by_itself=False)
        gate.pause("answered 410", by_itself=True)  # of one that was under way
        gate.failed(probe=True)
        gate.succeeded(probe=True)
        gate.leave()
        entering = asyncio.create_task(gate.enter())
        done, _ = await asyncio.wait([entering], timeout=0.2)
        assert not done
        assert gate.paused == "maintenance"
        entering.cancel()

    in_loop(test)
