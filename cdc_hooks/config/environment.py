"""``${VAR}`` and ``${VAR:-default}`` in the values of the configuration file; ``$${`` stands for a plain ``${``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOLLAR = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?", re.DOTALL)


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """``text`` with the variables' values in it. A default also stands in for an empty variable, as in a shell.

    ValueError names the variable that is not set, or says what is malformed.
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        inside = _VARIABLE.fullmatch(found[1])
        if inside is None or not found[2]:
            raise ValueError(
                "'${' begins a variable, ${NAME} or ${NAME:-default}; write '$${' for the characters themselves"
            )
        name, has_default, default = inside.groups()
        if has_default:
            return environ.get(name) or str(default)
        if name not in environ:
            raise ValueError(f"environment variable {name} is not set")
        return environ[name]

    return _DOLLAR.sub(value, text)
