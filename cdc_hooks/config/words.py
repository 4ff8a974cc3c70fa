"""Validation errors in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdc_hooks.config.keys import keys_at, kind_at, values_at
from cdc_hooks.config.problems import Place, did_you_mean
from cdc_hooks.config.units import format_duration, format_size

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_PLAIN = {
    "missing": "this key is required",
    "model_type": "a mapping is wanted here: keys with values",
    "dict_type": "a mapping is wanted here: keys with values",
    "tuple_type": "a list is wanted here",
    "string_type": "a single value is wanted here",
    "bool_type": "true or false is wanted here",
    "bool_parsing": "true or false is wanted here",
    "int_type": "a whole number is wanted here",
    "int_parsing": "a whole number is wanted here",
    "float_type": "a number is wanted here",
    "float_parsing": "a number is wanted here",
    "string_too_short": "the value is empty",
    "too_short": "name at least one",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
}


def explain(detail: ErrorDetails, place: Place) -> str:
    """What is wrong. The value that was given is left out: it may be a secret."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        if ":" in str(place[-1]):
            return "unknown key; put a space behind the colon"
        return "unknown key" + did_you_mean(str(place[-1]), keys_at(place[:-1]))
    if kind != "missing" and detail["input"] is None and kind in _PLAIN:
        return "this key has no value; give one, or leave the key out"
    if kind in {"enum", "literal_error"}:
        allowed = values_at(place, of_key=detail["loc"][-1] == "[key]")
        return f"{' or '.join(filter(None, [', '.join(allowed[:-1]), allowed[-1]]))} is wanted" + did_you_mean(
            str(detail["input"]), allowed
        )
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"{words} {_as_written(context[bound], kind_at(place))} is wanted"
    if kind == "value_error":
        return str(context["error"])
    return detail["msg"] if kind == "missing" and context else _PLAIN.get(kind, detail["msg"])


def _as_written(bound: Any, kind: str) -> str:
    if kind == "duration":
        return format_duration(bound)
    return format_size(bound) if kind == "size" else f"{bound:g}"
