"""``python -m bench [SCENARIO …] [--quick]``: measures, prints a table, writes JSON to bench/results/."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click
import psycopg

from bench.context import Context
from bench.database import postgres
from bench.processes import BenchError
from bench.progress import say
from bench.report import Row, show, write
from bench.scenarios import SCENARIOS
from bench.stock import Stock
from cdc_hooks.errors import CdcHooksError

_RESULTS = Path(__file__).parent / "results"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--quick", is_flag=True, help="Small and short, to see that it works; not to judge by.")
def main(scenarios: tuple[str, ...], *, quick: bool) -> None:
    """Measure what cdc-hooks must reach. Without SCENARIOS all of them, about 20 minutes and 10 GB of disk.

    Exit status 0 if every requirement is met, 1 if not.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    started = datetime.now(UTC)
    begun = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="cdc-hooks-bench-") as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)  # PostgreSQL's user must get at its data below
        server = _server_version(directory)
        try:
            with Stock(directory) as stock:
                for name in scenarios or SCENARIOS:
                    say(name)
                    rows += SCENARIOS[name](Context(directory, stock, quick))
        except (BenchError, CdcHooksError, psycopg.Error) as error:
            sys.exit(f"bench: {error}")
    show(rows, quick=quick)
    path = _RESULTS / f"{started:%Y%m%d-%H%M%S}{'-quick' if quick else ''}.json"
    write(
        rows, path, quick=quick, server=server, started=f"{started:%Y-%m-%dT%H:%M:%SZ}", took_s=time.monotonic() - begun
    )
    print(f"written to {path}")
    sys.exit(0 if all(row.passed for row in rows) else 1)


def _server_version(directory: Path) -> str:
    with postgres(directory) as server, psycopg.connect(server.dsn()) as connection:
        return str(connection.info.parameter_status("server_version"))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
