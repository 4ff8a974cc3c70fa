"""A database that was restored from a dump of another cluster: its cursors lie in the future of this one."""

from __future__ import annotations

from typing import Any

import psycopg

from cdc_hooks.errors import DatabaseError
from cdc_hooks.sql import queries

_SQL = queries("rebase")


def rebase(connection: psycopg.Connection[Any]) -> str:
    """Start afresh: empty the log, begin at this cluster's present, record a gap for each webhook.

    Returns what was done, in words. Refuses while a daemon leads. ``connection`` needs the schema owner's rights.
    """
    with connection.transaction():
        row = connection.execute(_SQL["leading"]).fetchone()
        if row is not None and row[0]:
            raise DatabaseError(
                f"a daemon acts on this database: {row[1]}", hint="stop it first: systemctl stop cdc-hooks"
            )
        connection.execute(_SQL["lock"])
        connection.execute(_SQL["supersede"])
        gaps = connection.execute(_SQL["record_gaps"]).rowcount
        connection.execute(_SQL["empty"])
        connection.execute(_SQL["restart_ids"])
        connection.execute(_SQL["first_tick"])
        connection.execute(_SQL["restart_progress"])
    return f"the log is empty, {gaps} gap{'' if gaps == 1 else 's'} recorded; webhooks go on from here"
