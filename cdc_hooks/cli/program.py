"""The root command: where the configuration is, and how every error becomes one message and an exit status."""

from __future__ import annotations

import io
import math
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cdc_hooks.config import DEFAULT_PATH, VARIABLE, Config, load
from cdc_hooks.errors import CdcHooksError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 130


@dataclass
class Session:
    """What the options of this call say."""

    given: Path | None = None

    @property
    def path(self) -> Path:
        """The configuration file: -c, else the environment variable, else the usual place."""
        return self.given or Path(os.environ.get(VARIABLE) or DEFAULT_PATH)

    def config(self) -> Config:
        """The configuration. Raises ConfigError."""
        return load(self.path)


class Program(click.Group):
    """A group whose commands return their exit status and raise CdcHooksError."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        _never_fail_to_encode()
        given = list(sys.argv[1:] if args is None else args)
        run = partial(super().main, given, prog_name, complete_var, standalone_mode=False, **extra)
        return _leave(_status(run, given)) if standalone_mode else run()


def _text_only(args: Sequence[str]) -> None:
    """UsageError for bytes that a database could not be asked for."""
    for number, arg in enumerate(args, 1):
        try:
            arg.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"Argument {number} is not text in UTF-8: {arg!a}") from None


def _never_fail_to_encode() -> None:
    """What a terminal's encoding lacks is written as in Python, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _status(run: Callable[[], Any], args: Sequence[str]) -> int:
    try:
        _text_only(args)
        returned = run()
    except CdcHooksError as error:
        click.echo(str(error), err=True)
        return error.exit_status
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        # Where it is a broken pipe, nobody reads any more.
        if not isinstance(error, BrokenPipeError):
            click.echo(f"cannot write: {error.strerror or error}", err=True)
        return 1
    except click.Abort as error:
        return INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else 1
    return returned if isinstance(returned, int) else 0


def _leave(status: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read our output has seen enough. Python would complain about it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _remember(context: click.Context, _parameter: click.Parameter, given: Path | None) -> None:
    session = context.find_root().ensure_object(Session)
    if given is not None:
        session.given = given


class _Rate(click.ParamType[float]):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            rate = float(value)
        except ValueError:
            rate = math.nan
        if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
            self.fail(
                f"{value!r} is no rate: {_LOWEST_RATE} to {_HIGHEST_RATE:,} a second; without it: no limit.", param, ctx
            )
        return rate


_LOWEST_RATE, _HIGHEST_RATE = 0.001, 1_000_000
RATE = _Rate()
"""Requests a second."""

# Accepted before and after the command's name; the one after it counts.
config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    expose_value=False,
    callback=_remember,
    help=f"Configuration file. Else ${VARIABLE}, else {DEFAULT_PATH}.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
dsn_option = click.option(
    "--dsn", metavar="DSN", help="Connect so. Else database.admin_dsn, else database.dsn of the configuration."
)
