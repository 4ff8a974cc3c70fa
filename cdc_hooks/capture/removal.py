"""What has to be done to remove captures, or everything that cdc-hooks has in a database. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import Connection

from cdc_hooks import sql
from cdc_hooks.capture import installation
from cdc_hooks.capture.catalog import nearest
from cdc_hooks.capture.definition import quoted, template
from cdc_hooks.capture.plan import look_at_tables, removal_steps
from cdc_hooks.capture.steps import Plan, Step
from cdc_hooks.capture.wanted import Roles
from cdc_hooks.errors import ConfigError


def plan_removal(conn: Connection[Any], tables: Sequence[str] | None, roles: Roles) -> Plan:
    """The steps that remove the capture of these tables (with their children), or with None everything.

    ConfigError where a table is not there. Removing what is not captured is an empty plan.
    """
    there = installation.look(conn, roles, installation.packaged())
    catalog = look_at_tables(conn, tables or ())
    if tables is None:
        triggers = [trigger for trigger in catalog.triggers if trigger.ours and not trigger.cloned]
        steps = (*removal_steps(triggers, ()), *_all_gone(conn, there, roles))
        return Plan(there.database, steps)
    names = sorted({trigger.table_name for trigger in catalog.triggers})
    for name in tables:
        if name not in catalog.tables:
            raise ConfigError(f"there is no table {name} in this database{nearest(name, names)}")
    doomed = {relation.oid for table in catalog.tables.values() for relation in (table.relation, *table.children)}
    ours = [trigger for trigger in catalog.triggers if trigger.ours]
    triggers = [trigger for trigger in ours if trigger.table_oid in doomed and not trigger.cloned]
    kept = {trigger.function for trigger in ours if not trigger.cloned and trigger.table_oid not in doomed}
    functions = sorted({trigger.function for trigger in triggers} - kept)
    return Plan(there.database, tuple(removal_steps(triggers, functions)))


def _all_gone(conn: Connection[Any], there: installation.Installation, roles: Roles) -> Iterator[Step]:
    if there.schema_owner is not None:
        yield Step(
            "schema cdc_hooks",
            ("drop the schema cdc_hooks with the change log, and all that depends on it",),
            (template("drop_schema"),),
            (f"role {roles.daemon} stays; it has no rights here any more",) if there.daemon.exists else (),
        )
    if there.owner.exists and _may_drop(there):
        query = sql.queries("capture")["owner_elsewhere"]
        used = conn.execute(query.encode(), {"owner": roles.owner}).fetchone()
        if not (used and used[0]):
            yield Step(
                f"role {roles.owner}",
                (f"drop role {roles.owner}, which owns nothing any more",),
                (template("drop_owner", owner=quoted(roles.owner)),),
            )


def _may_drop(there: installation.Installation) -> bool:
    return there.may_create_roles and (there.server_version < 160000 or there.owner.administered)
