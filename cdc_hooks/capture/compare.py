"""What is wanted against what is there: the state of each capture. Pure; ``plan`` and ``audit`` both stand on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from cdc_hooks.capture.catalog import Catalog, InstalledFunction, InstalledTrigger, Table
from cdc_hooks.capture.definition import Capture, Function, Trigger, digest_in


class State(StrEnum):
    INSTALLED = "installed"
    MISSING = "missing"
    OUTDATED = "outdated"
    """There, but not as the configuration or the table's columns want it; or somebody has edited it."""
    DISABLED = "disabled"
    """There, but not enabled ALWAYS."""
    FOREIGN = "foreign"
    """A trigger has our name and calls a function that is not ours."""
    UNWANTED = "unwanted"
    """Ours, and the configuration does not want it."""
    DETACHED = "detached"
    """A former partition of a captured table, which lost its capture by DETACH."""


@dataclass(frozen=True)
class FunctionState:
    function: Function
    state: State
    detail: str


@dataclass(frozen=True)
class TriggerState:
    trigger: Trigger
    state: State
    detail: str
    disabled_on: tuple[str, ...] = ()
    """The tables (the trigger's own, or partitions) where it is not enabled ALWAYS."""


@dataclass(frozen=True)
class CaptureState:
    capture: Capture
    function: FunctionState
    triggers: tuple[TriggerState, ...]


def compare(captures: Iterable[Capture], table: Table, catalog: Catalog) -> tuple[CaptureState, ...]:
    """The state of one table's captures."""
    installed = {(t.table_oid, t.name): t for t in catalog.triggers}
    return tuple(
        CaptureState(
            capture,
            _function_state(capture.function, catalog.functions.get(capture.function.name)),
            tuple(_trigger_state(trigger, table, installed) for trigger in capture.triggers),
        )
        for capture in captures
    )


def unwanted_triggers(captures: Iterable[Capture], catalog: Catalog) -> Iterator[InstalledTrigger]:
    """Our triggers on tables or for actions that nobody asks for."""
    wanted = {(t.relation.oid, t.name) for capture in captures for t in capture.triggers}
    return (t for t in catalog.triggers if t.ours and not t.cloned and (t.table_oid, t.name) not in wanted)


def unwanted_functions(captures: Iterable[Capture], catalog: Catalog) -> tuple[str, ...]:
    """Our functions that no wanted capture has."""
    wanted = {capture.function.name for capture in captures}
    return tuple(name for name in catalog.functions if name not in wanted)


def _function_state(function: Function, there: InstalledFunction | None) -> FunctionState:
    if there is None:
        return FunctionState(function, State.MISSING, f"function {function.name} is missing")
    problem = next(_function_differences(function, there), None)
    if problem:
        return FunctionState(function, State.OUTDATED, f"function {function.name}: {problem}")
    return FunctionState(function, State.INSTALLED, "")


def _function_differences(function: Function, there: InstalledFunction) -> Iterator[str]:
    if there.body != function.body:
        yield "its body is another"
    if set(there.settings) != {f"{name}={value}" for name, value in function.settings}:
        yield "its settings are others"
    if not there.definer:
        yield "it is not SECURITY DEFINER, or not a trigger function in plpgsql"
    if not there.owned:
        yield "it does not belong to the owner of the schema cdc_hooks"
    if there.public:
        yield "PUBLIC may execute it"


def _trigger_state(
    trigger: Trigger, table: Table, installed: Mapping[tuple[int, str], InstalledTrigger]
) -> TriggerState:
    there = installed.get((trigger.relation.oid, trigger.name))
    where = f"trigger {trigger.name} on {trigger.relation.sql_name}"
    if there is None:
        return TriggerState(trigger, State.MISSING, f"{where} is missing")
    if not there.ours:
        return TriggerState(
            trigger, State.FOREIGN, f"{where} calls {there.function}, which is not a function of cdc-hooks"
        )
    if there.cloned or not _as_defined(trigger, there):
        return TriggerState(trigger, State.OUTDATED, f"{where} is not as it is wanted")
    on = [there]
    if trigger.relation is table.relation:
        on += [clone for p in table.partitions if (clone := installed.get((p.oid, trigger.name)))]
    off = [one for one in on if one.enabled != "A"]
    if off:
        detail = f"{where} is {_enabled(off[0].enabled)}" + (
            "" if off[0] is there else f" for partition {off[0].table_name}"
        )
        return TriggerState(trigger, State.DISABLED, detail, tuple(one.table_name for one in off))
    return TriggerState(trigger, State.INSTALLED, "")


def _as_defined(trigger: Trigger, there: InstalledTrigger) -> bool:
    return (
        there.function == trigger.function
        and there.type == trigger.type
        and there.conditional == (trigger.condition is not None)
        and there.plain
        and digest_in(there.comment) == trigger.digest
    )


def _enabled(flag: str) -> str:
    return {"D": "disabled", "R": "enabled for replication sessions only"}.get(
        flag, "enabled for ordinary sessions only, not ALWAYS"
    )
