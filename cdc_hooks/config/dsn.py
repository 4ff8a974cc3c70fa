"""Connection strings: taken apart, and shown, without ever quoting a password."""

from __future__ import annotations

import re

import psycopg
from psycopg import conninfo

_HARMLESS = {"host", "hostaddr", "port", "dbname", "user", "service", "sslmode", "application_name"}


def parse_dsn(dsn: str) -> dict[str, str]:
    """The parameters of a libpq connection string or URI.

    ValueError, without any of it, where it is malformed. So is a URI whose password has an '@' or '/' in it as it is:
    libpq would take a part of the password for the host or the database, and name it in errors.
    """
    try:
        parts = {name: str(value) for name, value in conninfo.conninfo_to_dict(dsn).items()}
    except psycopg.ProgrammingError:
        # "from None": the cause may quote a part of the password.
        raise ValueError(
            "not a connection string; write postgresql://user:password@host:5432/database (special characters in "
            "the password percent-encoded), or host=… dbname=… user=…"
        ) from None
    if re.match(r"postgres(ql)?://", dsn) and not _is_apart(dsn, parts):
        raise ValueError(
            "the parts of the connection string are not what they look like; percent-encode special characters in "
            "the user and the password ('@' is %40, '/' is %2F, '%' is %25), or write host=… dbname=… user=… password=…"
        )
    return parts


def _is_apart(uri: str, parts: dict[str, str]) -> bool:
    """Whether nothing of the password stands in another part: one '@' alone, which ends it, and ports are numbers."""
    database = parts.get("dbname", "")
    return (
        "@" not in parts.get("host", "")
        and not ("@" in database and database in uri)
        and re.fullmatch(r"[\d,]*", parts.get("port", "")) is not None
    )


def show_dsn(dsn: str) -> str:
    """Which database and as whom, without passwords: ``host=db port=5432 dbname=shop user=cdc_hooks``. ValueError."""
    return conninfo.make_conninfo(**{key: value for key, value in parse_dsn(dsn).items() if key in _HARMLESS})
