"""How deliveries are tried again, held back and given up on: sections of a webhook, and the presets for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from cdc_hooks.config.choices import OnExhausted, Preset
from cdc_hooks.config.section import Section, fail
from cdc_hooks.config.units import format_duration
from cdc_hooks.config.values import Kind, Seconds, as_list, no_longer_than, nothing_or_off

_STATUSES = re.compile(r"([1-9]\d\d)(?:-([1-9]\d\d))?")


PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    Preset.FIRE_AND_FORGET: {
        "timeout": {"total": "5s"},
        "retry": {"schedule": ["5s"], "on_exhausted": "drop"},
        "breaker": "off",
        "bisect": "false",
    },
    Preset.FIVE_STRIKES: {
        "success": ["200", "201"],
        "retry": {"schedule": ["1m"], "max_attempts": "5", "on_exhausted": "pause"},
        "breaker": "off",
        "bisect": "false",
    },
    Preset.PATIENT: {
        "retry": {"schedule": ["1m", "5m", "30m", "2h", "12h"], "on_exhausted": "dead_letter"},
        "breaker": "off",
        "bisect": "false",
        "pause_after": "10",
    },
}
"""What each stands for, as it would be written in the file. Keys of the webhook itself come before it."""


def with_preset(given: object) -> object:
    """A webhook's mapping with what its preset says where it says nothing itself. Unknown presets are left alone."""
    preset = given.get("preset") if isinstance(given, dict) else None
    if not isinstance(given, dict) or not isinstance(preset, str) or preset not in set(Preset):
        return given
    return _under(given, PRESETS[Preset(preset)])


def _under(given: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(given)
    for key, value in preset.items():
        if merged.get(key) is None:
            merged[key] = value
        elif isinstance(value, Mapping) and isinstance(merged[key], dict):
            merged[key] = _under(merged[key], value)
    return merged


def _statuses(given: object) -> object:
    """``200`` or ``200-204``, as it is written."""
    found = _STATUSES.fullmatch(str(given).strip())
    if not found or not 200 <= int(found[1]) <= int(found[2] or found[1]) <= 599:
        raise ValueError("a status or a range of them is wanted, such as 200 or 200-204, from 200 to 599")
    return found[0]


Statuses = Annotated[str, Kind("status or range"), BeforeValidator(_statuses)]


def statuses(ranges: Iterable[str]) -> frozenset[int]:
    """All statuses that lie in one of them."""
    bounds = (one.partition("-") for one in ranges)
    return frozenset(status for first, _, last in bounds for status in range(int(first), int(last or first) + 1))


class Retry(Section):
    schedule: Annotated[tuple[Seconds, ...], BeforeValidator(as_list)] = (5.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
    """Pauses between the attempts of one batch: six pauses are seven attempts."""
    max_attempts: int | None = Field(default=None, ge=1, le=1000)
    """Most attempts of one batch; the last pause of the schedule repeats. Not given: one more than there are pauses."""
    jitter: float = Field(default=0.2, ge=0, le=1)
    """Each pause is made longer by up to this part of it, at random, so that retries do not come in step."""
    retry_after_cap: Seconds = Field(default=3600.0)
    """A receiver's Retry-After is respected up to this."""
    on_exhausted: OnExhausted = OnExhausted.DEAD_LETTER
    """After the last attempt: dead_letter sets the batch aside, pause stops the webhook, drop forgets the batch."""

    @model_validator(mode="after")
    def _a_pause_to_repeat(self) -> Self:
        if not self.schedule and (self.max_attempts or 1) > 1:
            fail("retry", [(("max_attempts",), "more than one attempt wants a pause in schedule")])
        return self


_PAUSE_S = 10.0


class Breaker(Section):
    """Holds back the whole webhook while its endpoint is sick, and keeps its place. ``breaker: off`` for none."""

    failures: int = Field(default=5, ge=1)
    """Opens after so many failures in a row."""
    rate: float = Field(default=0.8, gt=0, le=1)
    """Opens when this part of the requests of the last minute failed, of twenty at least."""
    pause: Seconds = Field(default=_PAUSE_S, gt=0)
    """Then one request tries whether it is well again, after this pause; each time it is not, the pause doubles …"""
    longest_pause: Seconds = Field(default=300.0, gt=0)
    """… up to this."""
    drain_rate: float = Field(default=20.0, gt=0)
    """Most requests a second after an outage, until the webhook has caught up."""

    @model_validator(mode="before")
    @classmethod
    def _pauses_no_longer_than_the_longest(cls, given: object) -> object:
        return no_longer_than(given, "pause", _PAUSE_S, "longest_pause")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.pause > self.longest_pause:
            fail("breaker", [(("pause",), f"longer than longest_pause ({format_duration(self.longest_pause)})")])
        return self


def breaker_or_off(given: object) -> object:
    """``off`` is None, and nothing is all defaults."""
    return {} if given is None else nothing_or_off(given)
