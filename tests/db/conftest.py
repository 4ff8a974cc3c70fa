"""A database with captures: what most tests of ``cdc_hooks.capture`` begin with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.rows import namedtuple_row

from cdc_hooks.capture import Finding, Plan, Roles, Wanted, apply, audit, plan
from cdc_hooks.model import Action

ROW_ACTIONS = frozenset({Action.INSERT, Action.UPDATE, Action.DELETE})


class Logged(NamedTuple):
    """A change as a receiver would understand it."""

    action: str
    key: Any
    data: Any


def roles_for(dsn: str) -> Roles:
    """Roles are of the whole cluster: each test's database has its own."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    return Roles(daemon=f"capture_daemon_{name}", owner=f"capture_owner_{name}")


@dataclass
class Captured:
    """A database, a connection to it as superuser, and the capture room's functions applied to both."""

    dsn: str
    roles: Roles
    conn: psycopg.Connection[Any]

    def connect(self, user: str | None = None, **options: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn, autocommit=True, **({"user": user} if user else {}), **options)

    def execute(self, query: str, *params: object) -> psycopg.Cursor[Any]:
        return self.conn.execute(query, params or None)

    def capture(
        self, *tables: str | Wanted, actions: frozenset[Action] = ROW_ACTIONS, **options: Any
    ) -> tuple[Wanted, ...]:
        """Applies the capture of these tables (and of no others)."""
        wanted = tuple(t if isinstance(t, Wanted) else Wanted(t, actions, **options) for t in tables)
        apply(self.conn, wanted, self.roles)
        return wanted

    def plan(self, *wanted: Wanted) -> Plan:
        return plan(self.conn, wanted, self.roles)

    def audit(self, *wanted: Wanted) -> tuple[Finding, ...]:
        """With the rights of the daemon."""
        with self.connect(self.roles.daemon) as daemon:
            return audit(daemon, wanted)

    def rows(self) -> list[Any]:
        """The change log, in order."""
        with self.conn.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute("SELECT * FROM cdc_hooks.change ORDER BY id").fetchall()

    def logged(self) -> list[Logged]:
        return [
            Logged(row.action, row.key and json.loads(row.key), row.data and json.loads(row.data))
            for row in self.rows()
        ]

    def keys(self) -> list[tuple[str, Any]]:
        return [(change.action, change.key) for change in self.logged()]


@pytest.fixture
def captured(database: str) -> Iterator[Captured]:
    with psycopg.connect(database, autocommit=True) as conn:
        yield Captured(database, roles_for(database), conn)
