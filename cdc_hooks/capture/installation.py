"""The roles, the schema ``cdc_hooks`` with its migrations, the daemon's grants: what there is, and what is to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection, errors
from psycopg.rows import dict_row

from cdc_hooks import sql
from cdc_hooks.capture.definition import literal, quoted, template
from cdc_hooks.capture.steps import Step
from cdc_hooks.capture.wanted import Roles
from cdc_hooks.errors import DatabaseError

OLDEST_SERVER = 15
_QUERIES = sql.queries("capture")


@dataclass(frozen=True)
class Edition:
    """What a version of this program installs: the schema of today, and the migrations that lead there."""

    version: int
    schema: str
    migrations: tuple[tuple[int, str], ...]
    """(version that it leads to, SQL), in order."""


def packaged(directory: Path = sql.SQL_DIR) -> Edition:
    """The edition in a directory with ``schema.sql`` and ``migrations/NNNN_name.sql`` (from 0002 on)."""
    migrations = sorted(
        (int(found[1]), path.read_text(encoding="utf-8"))
        for path in (directory / "migrations").glob("*.sql")
        if (found := re.match(r"(\d{4})_", path.name))
    )
    numbers = [number for number, _ in migrations]
    if numbers != list(range(2, len(numbers) + 2)):
        raise ValueError(f"migrations are numbered 0002, 0003, …; found {numbers}")
    return Edition(len(migrations) + 1, (directory / "schema.sql").read_text(encoding="utf-8"), tuple(migrations))


@dataclass(frozen=True)
class Role:
    exists: bool
    ours: bool
    """Whether we have its rights."""
    administered: bool
    """Whether we may grant and drop it."""


@dataclass(frozen=True)
class Installation:
    """What is there, and who asks."""

    server_version: int
    database: str
    user: str
    superuser: bool
    may_create_schema: bool
    may_create_roles: bool
    owner: Role
    daemon: Role
    schema_owner: str | None
    """None: there is no schema cdc_hooks."""
    version: int | None
    missing_grants: tuple[str, ...]


def look(conn: Connection[Any], roles: Roles, edition: Edition) -> Installation:
    """What is there. Raises DatabaseError where this server or schema cannot be worked with; reads only."""
    server = _one(conn, "server")
    _check_server(server)
    found = {row["name"]: row for row in _rows(conn, "roles", owner=roles.owner, daemon=roles.daemon)}
    schema = next(iter(_rows(conn, "schema")), None)
    if schema and not schema["ours"]:
        raise DatabaseError(
            "there is a schema cdc_hooks in this database that cdc-hooks did not make",
            hint="rename it, or drop it if it is left over",
        )
    try:
        version = _one(conn, "schema_version")["version"] if schema else None
        # Of another version's schema nobody here knows what is granted on it; its upgrade grants all anew.
        current = version == edition.version and roles.daemon in found
        grants = _rows(conn, "missing_grants", daemon=roles.daemon) if current else []
    except errors.InsufficientPrivilege as error:
        owner = f"a member of {schema and schema['owner']}, the role that owns it"
        raise DatabaseError(
            f"role {server['user_name']} may not look into the schema cdc_hooks",
            hint=f"run: cdc-hooks apply, as {owner}: it gives the daemon's role its rights"
            if server["user_name"] == roles.daemon
            else f"connect as {owner}",
        ) from error
    return Installation(
        server_version=server["version"],
        database=server["database"],
        user=server["user_name"],
        superuser=server["superuser"],
        may_create_schema=server["may_create_schema"],
        may_create_roles=server["may_create_roles"],
        owner=_role(found.get(roles.owner)),
        daemon=_role(found.get(roles.daemon)),
        schema_owner=schema["owner"] if schema else None,
        version=version,
        missing_grants=tuple(row["missing"] for row in grants),
    )


def steps(there: Installation, roles: Roles, edition: Edition) -> Iterator[Step]:
    """The steps to the roles, the schema and the grants, as far as they are not there. Pure."""
    _check_version(there, roles, edition)
    _check_rights(there, roles)
    yield from _role_steps(there, roles)
    yield from _schema_steps(there, roles, edition)
    current = there.version == edition.version and there.daemon.exists
    if not current or there.missing_grants:
        yield Step(
            subject=f"rights of {roles.daemon}",
            lines=(f"grant the daemon's role {roles.daemon} its rights in the schema cdc_hooks (none on your tables)",),
            notes=there.missing_grants if current else (),
            sql=(
                as_owner(roles),
                sql.text("grants.sql").format(daemon=quoted(roles.daemon), daemon_name=literal(roles.daemon)),
                template("become_self"),
            ),
        )


def as_owner(roles: Roles) -> str:
    """What is created after this belongs to the owner, until ``become_self``."""
    return template("become_owner", owner=quoted(roles.owner))


def _role_steps(there: Installation, roles: Roles) -> Iterator[Step]:
    statements, lines = [], []
    if not there.owner.exists:
        lines.append(f"create role {roles.owner}, which owns the schema cdc_hooks and cannot log in")
        statements.append(template("create_owner", owner=quoted(roles.owner)))
    if not there.superuser and not there.owner.ours:
        lines.append(f"make {there.user} a member of {roles.owner}")
        statements.append(_join(there, roles))
    if statements:
        yield Step(f"role {roles.owner}", tuple(lines), tuple(statements))
    if not there.daemon.exists:
        yield Step(
            f"role {roles.daemon}",
            (f"create role {roles.daemon}, as which the daemon logs in",),
            (template("create_daemon", daemon=quoted(roles.daemon)),),
            (f"it gets no password; to set one, type in psql: \\password {quoted(roles.daemon)}",),
        )


def _schema_steps(there: Installation, roles: Roles, edition: Edition) -> Iterator[Step]:
    if there.version is None:
        yield Step(
            "schema cdc_hooks",
            (f"create the schema cdc_hooks, version {edition.version}: the change log and what the daemon remembers",),
            (
                template("create_schema", owner=quoted(roles.owner)),
                as_owner(roles),
                edition.schema,
                _record(edition.version),
                template("become_self"),
            ),
        )
        return
    for number, script in edition.migrations:
        if number > there.version:
            yield Step(
                "schema cdc_hooks",
                (f"upgrade the schema cdc_hooks from version {number - 1} to {number}",),
                (as_owner(roles), script, _record(number), template("become_self")),
            )


def _join(there: Installation, roles: Roles) -> str:
    # Since 16 each membership says what it is good for; before, the member's own INHERIT decides.
    options = " WITH INHERIT TRUE, SET TRUE" if there.server_version >= 160000 else ""
    return template("join_owner", owner=quoted(roles.owner), options=options)


def _record(version: int) -> str:
    return template("record_version", version=str(version))


def _check_server(server: dict[str, Any]) -> None:
    if server["version"] < OLDEST_SERVER * 10000:
        raise DatabaseError(
            f"the server is PostgreSQL {server['version'] // 10000}, cdc-hooks needs {OLDEST_SERVER} or newer",
            hint="upgrade the server",
        )
    if server["standby"] or server["read_only"]:
        raise DatabaseError(
            "the server is a standby" if server["standby"] else "the session is read-only",
            hint="connect to the primary, for example with target_session_attrs=read-write and all hosts in the dsn",
        )


def _check_version(there: Installation, roles: Roles, edition: Edition) -> None:
    if there.schema_owner is not None and there.schema_owner != roles.owner:
        raise DatabaseError(
            f"the schema cdc_hooks belongs to {there.schema_owner}, not to {roles.owner}",
            hint=f"say ALTER SCHEMA cdc_hooks OWNER TO {quoted(roles.owner)}, or configure its owner",
        )
    if there.schema_owner is not None and there.version is None:
        raise DatabaseError(
            "the schema cdc_hooks does not say which version it is: cdc_hooks.migration is empty",
            hint="it was not made by apply; drop it and apply again",
        )
    if there.version is not None and there.version > edition.version:
        raise DatabaseError(
            f"the schema cdc_hooks is version {there.version}, this program knows version {edition.version}",
            hint="use the newer cdc-hooks that upgraded it",
        )


def _check_rights(there: Installation, roles: Roles) -> None:
    """DatabaseError with the SQL that somebody with more rights has to run once, where we lack some."""
    user, owner, needed = quoted(there.user), quoted(roles.owner), []
    if not there.owner.exists and not there.may_create_roles:
        needed.append(f"CREATE ROLE {owner} NOLOGIN;")
    can_join = there.may_create_roles and (
        there.server_version < 160000 or not there.owner.exists or there.owner.administered
    )
    if not there.superuser and not there.owner.ours and not can_join:
        needed.append(_join(there, roles).strip().replace("CURRENT_USER", user))
    if not there.daemon.exists and not there.may_create_roles:
        needed.append(f"CREATE ROLE {quoted(roles.daemon)} LOGIN;")
    if there.schema_owner is None and not there.may_create_schema:
        needed.append(f"GRANT CREATE ON DATABASE {quoted(there.database)} TO {user};")
    if needed:
        raise DatabaseError(
            f"role {there.user} may not do what has to be done once", hint=f"as a superuser, run: {' '.join(needed)}"
        )


def _role(row: dict[str, Any] | None) -> Role:
    return Role(True, row["ours"], row["administered"]) if row else Role(exists=False, ours=False, administered=False)


def _rows(conn: Connection[Any], query: str, **params: str) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_QUERIES[query].encode(), params or None).fetchall()


def _one(conn: Connection[Any], query: str) -> dict[str, Any]:
    return _rows(conn, query)[0]
