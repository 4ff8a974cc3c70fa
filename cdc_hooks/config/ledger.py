"""The section ``ledger``: what is remembered of deliveries, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from cdc_hooks.config.choices import OnResent, Recorded
from cdc_hooks.config.section import Section
from cdc_hooks.config.values import Bytes, Seconds, nothing_or_off

_DAY = 86_400.0
_MiB, _GiB = 2**20, 2**30


class Ledger(Section):
    """Deliveries that wait or were given up on are always kept, with their bodies, until they are finished with."""

    log: Recorded = Recorded.ALL
    """Which finished deliveries are recorded: all; rejected, those given up on; or none, nor failed attempts."""
    bodies: Recorded = Recorded.REJECTED
    """Whose request bodies are kept: all; rejected, of those that were given up on and then resent; or none."""
    keep: Seconds = Field(default=30 * _DAY, ge=3600)
    """How long finished deliveries and failed attempts are kept, to the day."""
    max_bytes: Annotated[Bytes | None, Field(ge=_MiB), BeforeValidator(nothing_or_off)] = _GiB
    """Budget on disk for finished deliveries and failed attempts: the oldest go first. none: no limit."""
    on_resent: OnResent = OnResent.MARK
    """A dead letter that was resent with success is marked as resent, with the finished ones, or removed."""
