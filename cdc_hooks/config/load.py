"""The configuration file → a Config, or one error that tells all that is wrong with it, line by line."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from cdc_hooks.config import document, rules
from cdc_hooks.config.credentials import CONSEQUENCE
from cdc_hooks.config.models import Config, NetworkRules, TableRules
from cdc_hooks.config.names import canonical_table
from cdc_hooks.config.notify import Notify
from cdc_hooks.config.problems import Place, Problem, as_error
from cdc_hooks.config.webhook import Webhook
from cdc_hooks.config.words import explain
from cdc_hooks.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

DEFAULT_PATH = Path("/etc/cdc-hooks/config.yaml")
VARIABLE = "CDC_HOOKS_CONFIG"
_START_FROM = "start from config.example.yaml, which has every key with its meaning"

_STAND_INS: Mapping[str, object] = {"url": "https://stand.in", "secret": 16 * "x", "tables": {"stand.in": None}}

Model = TypeVar("Model", bound=BaseModel)


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and validate the file, its ``${VAR}`` from ``environ``. Raises ConfigError."""
    return parse(_text(path), path, environ)


def as_written(path: Path) -> document.Document:
    """The data of a file that can be loaded, with ``${VAR}`` as it stands there."""
    return document.parse(_text(path), None)


def warnings(config: Config) -> list[str]:
    """What is allowed but looks like a mistake."""
    return [f"tables.{place[-1]}: {what}" for place, what in rules.unused_tables(config.webhooks, config.tables)]


def parse(text: str, path: Path, environ: Mapping[str, str]) -> Config:
    """As :func:`load`, for the text of ``path``; files that it names are looked for beside that."""
    try:
        found = document.parse(text, environ)
    except document.NotYamlError as error:
        raise as_error(str(path), [Problem(error.line, (), error.what)]) from None
    if found.data is None and not found.problems:
        raise ConfigError(f"{path}: the file is empty", hint=_START_FROM)
    context = {"directory": path.parent}
    wrong = list(found.problems)
    try:
        config = Config.model_validate(found.data, context=context)
    except ValidationError as error:
        lines = _with_canonical_tables(found.lines)
        told = [problem.place for problem in found.problems]
        invalid = [*_problems(error, lines), *_contradictions(found.data, context, lines)]
        wrong += [problem for problem in invalid if not any(_is_within(problem.place, place) for place in told)]
        raise as_error(str(path), wrong) from None  # its words may quote what was given, which may be a secret
    if wrong:
        raise as_error(str(path), wrong)
    return config


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: there is no such file", hint=f"name another with -c FILE or {VARIABLE}, or {_START_FROM}"
        ) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: this is a directory", hint="name the file itself, with -c FILE") from error
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}",
            hint="look at the owner and the mode of the file and its directories",
        ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text", hint="save the file as UTF-8") from error


def _problems(error: ValidationError, lines: Mapping[Place, int]) -> Iterator[Problem]:
    for detail in error.errors(include_url=False):
        if detail["type"] == CONSEQUENCE:
            continue
        place, line = _locate(detail, lines)
        yield Problem(line, place, explain(detail, place))


def _locate(detail: ErrorDetails, lines: Mapping[Place, int]) -> tuple[Place, int]:
    """Where in the file an error belongs. Pydantic's places have steps that the file has not."""
    place: Place = ()
    for step in detail["loc"]:
        if (*place, step) in lines:
            place = (*place, step)
        elif (*place, f"{step}_file") in lines:
            place = (*place, f"{step}_file")  # the value came from a file
    line = lines[place]
    missing = detail["loc"][-1:] if detail["type"] == "missing" else ()
    return (place if place[-1:] == missing else place + missing), line


def _contradictions(data: object, context: dict[str, Any], lines: Mapping[Place, int]) -> Iterator[Problem]:
    """What the sections that are valid on their own have against each other, although others are not valid."""
    sections = data if isinstance(data, dict) else {}
    network = _valid({"": sections.get("network")}, NetworkRules, context)
    if network:
        webhooks = _valid(sections.get("webhooks"), Webhook, context)
        tables = _valid(sections.get("tables"), TableRules, context)
        excluded = {canonical_table(name): table.exclude for name, table in tables.items()}
        notify = _valid({"": sections.get("notify")}, Notify, context).get("")
        for place, what in rules.contradictions(webhooks, excluded, notify, allow_http=network[""].allow_http):
            yield Problem(lines[place], place, what)


def _valid(entries: object, model: type[Model], context: dict[str, Any]) -> dict[str, Model]:
    """What can be understood of each entry; its wrong keys have harmless values in their place."""
    valid: dict[str, Model] = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        try:
            valid[name] = model.model_validate(entry, context=context)
        except ValidationError as error:
            wrong = {str(detail["loc"][0]) for detail in error.errors(include_url=False) if detail["loc"]}
            with suppress(ValidationError):
                given = entry if isinstance(entry, dict) else {}
                usable = {key: value for key, value in given.items() if key not in wrong}
                valid[name] = model.model_validate(usable | {key: _STAND_INS[key] for key in wrong & _STAND_INS.keys()})
    return valid


def _with_canonical_tables(lines: Mapping[Place, int]) -> dict[Place, int]:
    """The same lines, also to be found by a table's canonical name."""
    more = dict(lines)
    for place, line in lines.items():
        above = (None, *place)
        spelt = tuple(
            canonical_table(step) if above[number] == "tables" and isinstance(step, str) and _is_table(step) else step
            for number, step in enumerate(place)
        )
        more.setdefault(spelt, line)
    return more


def _is_table(name: str) -> bool:
    try:
        canonical_table(name)
    except ValueError:
        return False
    return True


def _is_within(place: Place, outer: Place) -> bool:
    return place[: len(outer)] == outer
