"""What is wrong in a configuration file, and on which line: collected, then told all at once."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NamedTuple

from cdc_hooks.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

Place = tuple[str | int, ...]
"""Where a value stands in the file: ``("webhooks", "order-sync", "secret", 1)``."""


class Problem(NamedTuple):
    """One thing that is wrong. ``line`` counts from 1."""

    line: int
    place: Place
    what: str


def show_place(place: Place) -> str:
    """A place as people write it: ``webhooks.order-sync.secret[1]``, ``tables[public.orders].key``."""
    text = ""
    for above, step in zip((None, *place), place, strict=False):
        if isinstance(step, str) and re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{step if above == 'tables' else show_key(str(step))}]"
    return text


def show_key(key: str) -> str:
    """A key as it was given, up to a colon, an equals sign or a space: what follows is a value, perhaps a secret one,
    that a missing space or colon has made part of the key.
    """
    found = re.search(r"[:=\s]", key)
    return f"{key[: found.end()]}…" if found else key


def as_error(file: str, problems: Iterable[Problem]) -> ConfigError:
    """One error that tells all problems, a line each, in the order of the file."""
    told = sorted(dict.fromkeys(problems), key=lambda problem: problem.line)
    return ConfigError("\n".join(": ".join(filter(None, _parts(file, problem))) for problem in told))


def _parts(file: str, problem: Problem) -> tuple[str, str, str]:
    return f"{file}:{problem.line}", show_place(problem.place), problem.what


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` with the nearest of ``known``, or nothing where none is near."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower().replace("-", "_"), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""
