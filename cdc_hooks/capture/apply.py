"""Carries plans out: one at a time in a database, a transaction for each step, patient with locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from psycopg import Connection, errors

from cdc_hooks import sql
from cdc_hooks.capture.definition import template
from cdc_hooks.capture.installation import Edition
from cdc_hooks.capture.plan import plan
from cdc_hooks.capture.removal import plan_removal
from cdc_hooks.capture.steps import LOCK, LOCK_TIMEOUT_S, Plan, Step
from cdc_hooks.capture.wanted import Roles, Wanted
from cdc_hooks.errors import DatabaseError

_LONGEST_PAUSE_S = 5.0
_QUERIES = sql.queries("capture")


class Progress(StrEnum):
    STARTED = "started"
    WAITING = "waiting"
    """A lock was not free within the timeout; the step is tried again."""
    DONE = "done"


@dataclass(frozen=True)
class Patience:
    """How long a lock is waited for, and how often: everybody who wants the table queues behind us meanwhile."""

    lock_timeout_s: float = LOCK_TIMEOUT_S
    attempts: int = 8
    pause: Callable[[float], None] = time.sleep


OnStep = Callable[[Step, Progress], None]


def apply(
    conn: Connection[Any],
    wanted: Sequence[Wanted],
    roles: Roles,
    *,
    on_step: OnStep | None = None,
    edition: Edition | None = None,
    patience: Patience = Patience(),
) -> Plan:
    """Does what ``plan`` says, and returns that. After a failure at any point it is safe to run again.

    ``conn`` may not be in a transaction, and is in autocommit mode afterwards.
    """
    with _alone(conn, patience):
        chosen = plan(conn, wanted, roles, edition=edition)
        _carry_out(conn, chosen, on_step, patience)
    return chosen


def remove(
    conn: Connection[Any],
    tables: Sequence[str] | None,
    roles: Roles,
    *,
    on_step: OnStep | None = None,
    patience: Patience = Patience(),
) -> Plan:
    """Removes the capture of these tables; with None, everything: all captures, the schema and the owner's role."""
    with _alone(conn, patience):
        chosen = plan_removal(conn, tables, roles)
        _carry_out(conn, chosen, on_step, patience)
    return chosen


@contextmanager
def _alone(conn: Connection[Any], patience: Patience) -> Iterator[None]:
    """Holds the lock that only one has in a database. DatabaseError where another keeps it longer than the timeout."""
    conn.autocommit = True
    before = conn.execute("SELECT pg_catalog.current_setting('lock_timeout')").fetchone()
    _set_lock_timeout(conn, f"{round(patience.lock_timeout_s * 1000)}ms")
    try:
        conn.execute(_QUERIES["lock"].encode())
    except errors.LockNotAvailable as error:
        raise DatabaseError(
            "somebody else is applying or removing captures in this database", hint="wait for them, and run this again"
        ) from error
    finally:
        _set_lock_timeout(conn, before[0] if before else "0")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute(_QUERIES["unlock"].encode())


def _set_lock_timeout(conn: Connection[Any], value: str) -> None:
    conn.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", [value])


def _carry_out(
    conn: Connection[Any],
    chosen: Plan,
    on_step: OnStep | None,
    patience: Patience,
) -> None:
    say = on_step or (lambda _step, _progress: None)
    for step in chosen.steps:
        say(step, Progress.STARTED)
        for attempt in range(1, patience.attempts + 1):
            try:
                _run(conn, step, patience.lock_timeout_s)
                break
            except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
                if attempt == patience.attempts:
                    raise DatabaseError(
                        f"{step.subject}: a lock was not free within {patience.lock_timeout_s:g} s, {attempt} times",
                        hint="a long transaction holds it; run this again, what is done stays done",
                    ) from error
            # Everybody who queues behind us for the table gets through while we wait.
            say(step, Progress.WAITING)
            patience.pause(min(_LONGEST_PAUSE_S, 0.1 * 2**attempt))
        say(step, Progress.DONE)


def _run(conn: Connection[Any], step: Step, lock_timeout_s: float) -> None:
    try:
        with conn.transaction():
            conn.execute(template("lock_timeout", lock_timeout_ms=str(round(lock_timeout_s * 1000))).encode())
            conn.execute(LOCK.encode())
            for statement in step.sql:
                conn.execute(statement.encode())
    except (errors.LockNotAvailable, errors.DeadlockDetected):
        raise
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"{step.subject}: the connection was lost: {error}", hint="run this again, what is done stays done"
        ) from error
    except psycopg.Error as error:
        raise DatabaseError(
            f"{step.subject}: {error.diag.message_primary} (SQLSTATE {error.sqlstate}), while trying to "
            f"{'; '.join(step.lines)}",
            hint=error.diag.message_hint or "nothing of this step was done; what came before it stays done",
        ) from error
