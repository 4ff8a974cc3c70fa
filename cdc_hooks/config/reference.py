"""The reference of the configuration, made from the models.

To renew it: ``python -m cdc_hooks.config.reference > docs/configuration.md``
"""

from __future__ import annotations

import inspect
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args, get_origin

from annotated_types import Ge, Gt, Le

from cdc_hooks.config.keys import annotation_of, key_of, unfold, words_of
from cdc_hooks.config.models import Config
from cdc_hooks.config.section import Section
from cdc_hooks.config.units import format_duration, format_size
from cdc_hooks.config.values import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic.fields import FieldInfo

_INTRODUCTION = """\
# Configuration

<!-- Made from the models by: python -m cdc_hooks.config.reference > docs/configuration.md -->

One YAML file: `-c FILE`, else `$CDC_HOOKS_CONFIG`, else `/etc/cdc-hooks/config.yaml`.
[config.example.yaml](../config.example.yaml) has every key and can be started from. `cdc-hooks check` says all that is
wrong in a file at once, each with its line.

- **Durations** are written `250ms`, `5s`, `1m`, `1h30m`, `2d`; **sizes** `512B`, `256KiB`, `10MB`, `1GiB`.
- **Variables:** `${NAME}` in a value is replaced by the environment variable, `${NAME:-default}` has a default, `$${`
  stands for `${` itself. A variable that is not set is an error. What a variable holds is never read as YAML.
- **Files:** a secret `x` may stand in a file of its own, named by `x_file`; one newline at its end is left out. A
  relative path begins at the configuration file's directory; `${CREDENTIALS_DIRECTORY}/x` is a systemd credential.
- **Tables** are named as in SQL, with their schema: `public.orders`, `public."Order Items"`. **Columns** are named
  exactly as they are, without quotes.
- Where a list is wanted, a single value is a list of one.
- An unknown key is an error, and so is a key that stands there twice.
"""
_HEAD = "\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n"


def reference() -> str:
    """The whole page, in Markdown."""
    return _INTRODUCTION + "".join(_sections("", Config))


def _sections(place: str, model: type[Section]) -> Iterator[str]:
    rows, below = [], []
    for name, field in model.model_fields.items():
        key = key_of(name, field)
        inner = _section_of(field)
        where = f"{place}.{key}" if place else key
        if inner is None:
            rows.append(
                f"| `{key}` | {_value(annotation_of(field))} | {_default(field)} | {_cell(field.description or '')} |\n"
            )
        else:
            section, many = inner
            below.append((f"{where}.{many}" if many else where, section, field.description))
    if place and rows:
        yield _HEAD + "".join(rows)
    for where, section, description in below:
        yield f"\n{'#' * _depth(where)} {where}\n"
        own = inspect.cleandoc(vars(section).get("__doc__") or "")
        yield from (f"\n{_cell(text)}\n" for text in (description, own) if text)
        yield from _sections(where, section)


def _depth(place: str) -> int:
    """Of a heading: names that the operator chooses do not count."""
    return 1 + sum(not step.isupper() for step in place.split("."))


def _section_of(field: FieldInfo) -> tuple[type[Section], str] | None:
    """The section that a field is, and, where it is a mapping of sections, what its keys are called."""
    for known, _ in unfold(annotation_of(field)):
        if isinstance(known, type) and issubclass(known, Section):
            return known, ""
        if get_origin(known) is dict:
            key, value = get_args(known)
            if isinstance(value, type) and issubclass(value, Section):
                return value, _value(key).upper()
    return None


def _value(annotation: Any) -> str:
    """What may be given, in words."""
    return " or ".join(dict.fromkeys(_one_value(known, metadata) for known, metadata in unfold(annotation)))


def _one_value(known: Any, metadata: tuple[Any, ...]) -> str:
    if get_origin(known) is tuple:
        return f"list of: {_value(get_args(known)[0])}"
    if get_origin(known) is dict:
        key, value = get_args(known)
        return f"mapping of: {_value(key)} → {_value(value)}"
    if words := words_of(known):
        return ", ".join(f"`{word}`" for word in words)
    kind = next((one.words for one in metadata if isinstance(one, Kind)), None)
    plain = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text"}
    return (kind or plain[known]) + _bounds(metadata, kind)


def _bounds(metadata: tuple[Any, ...], kind: str | None) -> str:
    show: Callable[[Any], str] = {"duration": format_duration, "size": format_size}.get(kind or "", str)
    lowest = [show(one.ge) for one in metadata if isinstance(one, Ge) and one.ge]
    above = [f"more than {show(one.gt)}" for one in metadata if isinstance(one, Gt)]
    most = [show(one.le) for one in metadata if isinstance(one, Le)]
    if lowest and most:
        return f", {lowest[-1]} to {most[0]}"
    words = [*(f"at least {one}" for one in lowest), *above, *(f"at most {one}" for one in most)]
    return "".join(f", {one}" for one in words)


def _default(field: FieldInfo) -> str:
    default = field.get_default()
    if field.is_required() or (field.validate_default and type(None) not in get_args(field.annotation)):
        return "required"
    if default is None or default in ((), {}):
        return ""
    kinds = [one.words for _, metadata in unfold(annotation_of(field)) for one in metadata if isinstance(one, Kind)]
    for known, _ in unfold(annotation_of(field)):
        if get_origin(known) is tuple:
            kinds += [one.words for _, inner in unfold(get_args(known)[0]) for one in inner if isinstance(one, Kind)]
    return f"`{_written(default, kinds[0] if kinds else '')}`"


def _written(value: Any, kind: str) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_written(one, kind) for one in value)}]"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if kind == "duration":
        return format_duration(value)
    return format_size(value) if kind == "size" else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(reference())
