"""Structured logs on stderr: JSON for machines, or coloured lines for people. Secrets never come here."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

if TYPE_CHECKING:
    from types import TracebackType

    from structlog.typing import EventDict, ExcInfo, Processor

_LONGEST_WORDS = 300


def traceback_of(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Without the values of variables: among those are keys, tokens and the rows of other people.

    Of what an error says, the first line: those of PostgreSQL go on with details that quote rows and parameters.
    """
    return _shortened(_TRACEBACK(exc_info))


_TRACEBACK = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def _shortened(stacks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        stack
        | {
            "exc_value": stack["exc_value"].partition("\n")[0][:_LONGEST_WORDS],
            "exceptions": [_shortened(inner) for inner in stack.get("exceptions", [])],
        }
        for stack in stacks
    ]


def _write_traceback(to: TextIO, exc_info: ExcInfo) -> None:
    """For people, in Python's own order: what came first stands first."""
    for stack in reversed(traceback_of(exc_info)):
        lines = [f'  File "{one["filename"]}", line {one["lineno"]}, in {one["name"]}' for one in stack["frames"]]
        to.write("\n".join(["Traceback:", *lines, f"{stack['exc_type']}: {stack['exc_value']}", ""]))


def configure(level: str = "info", form: Literal["json", "console", "auto"] = "auto") -> None:
    """``auto``: console when stderr is a terminal, else JSON. Libraries' warnings and worse look the same."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render = _for_people() if console else _for_machines()
    structlog.configure(
        processors=[*before, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_first_line, *before, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    sys.excepthook = _crashed


def _first_line(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Of what a library says, as of an error: asyncio goes on with all that an error says which nobody waited for."""
    event["event"] = str(event["event"]).partition("\n")[0][:_LONGEST_WORDS]
    return event


def _crashed(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Python's own way would print all that the error says."""
    structlog.get_logger().critical("crashed", exc_info=(kind, error, traceback))


def _for_machines() -> list[Processor]:
    return [structlog.processors.ExceptionRenderer(traceback_of), structlog.processors.JSONRenderer()]


def _for_people() -> list[Processor]:
    return [structlog.dev.ConsoleRenderer(exception_formatter=_write_traceback)]
