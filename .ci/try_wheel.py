"""Uses an installed wheel as a newcomer does, from the example that came with it to a database with captures.

Run it with ``python -I`` in an environment that has the wheel and nothing of the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import files
from importlib.util import find_spec
from pathlib import Path

import psycopg

from cdc_hooks import __file__ as package
from cdc_hooks.demo.postgres import PostgresServer, wheel_bin_dir

DATA = Path(sysconfig.get_path("data"))
EXAMPLE = DATA / "share" / "cdc-hooks" / "config.example.yaml"
UNIT = EXAMPLE.with_name("cdc-hooks.service")
MONITORING = [
    EXAMPLE.parent / "monitoring" / f"cdc-hooks.{kind}" for kind in ("rules.yml", "rules.test.yml", "dashboard.json")
]
TABLES = """
CREATE TABLE orders (id int PRIMARY KEY, number text, status text, total numeric);
CREATE TABLE customers (id int PRIMARY KEY, name text);
"""


def main() -> None:
    """Raise AssertionError at the first thing that is not as it should be."""
    assert Path(sys.prefix) in Path(package).parents, f"cdc_hooks comes from {package}"
    assert find_spec("tests") is None, "the tests are in the wheel"
    names = {path.name for path in files("cdc-hooks") or []}
    assert {"py.typed", "LICENSE", "schema.sql", EXAMPLE.name, UNIT.name} <= names, sorted(names)
    assert all(path.is_file() for path in MONITORING), MONITORING
    binaries = wheel_bin_dir(18)
    assert binaries is not None, "there is no server in the environment"
    with PostgresServer(binaries, durable=False) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute(TABLES)
        secret = "whsec_" + 32 * "C"
        environment = {"DATABASE_URL": server.dsn(user="cdc_hooks"), "ORDER_SYNC_SECRET": secret}
        for command in ("apply", "plan"):
            cdc_hooks(environment, command, "--dsn", server.dsn())
        for command in ("check", "status"):
            cdc_hooks(environment, command)


def cdc_hooks(environment: dict[str, str], *command: str) -> None:
    """Run a command with the example; its exit status must be 0."""
    print("$ cdc-hooks", *command, flush=True)
    program = Path(sys.prefix) / "bin" / "cdc-hooks"
    subprocess.run([program, "-c", EXAMPLE, *command], env={**os.environ, **environment}, check=True)


if __name__ == "__main__":
    main()
