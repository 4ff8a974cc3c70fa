"""Names of tables and columns as SQL writes them."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_PART = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
LONGEST_NAME_BYTES = 63


def parse_table(text: str) -> tuple[str, str]:
    """Schema and table of ``public.orders`` or ``public."Order Items"``. ValueError says what is wrong."""
    parts: list[str] = []
    rest = text.strip()
    while True:
        found = _PART.match(rest)
        if found is None:
            raise ValueError(f'{text!r} is not a table name; write it as in SQL: public.orders or public."Order Items"')
        parts.append(_name_of(found))
        rest = rest[found.end() :]
        if not rest:
            break
        if not rest.startswith("."):
            raise ValueError(
                f'{text!r} is not a table name; special characters need double quotes, as in public."Order Items"'
            )
        rest = rest[1:]
    if len(parts) == 1:
        raise ValueError(f"{text!r} has no schema; did you mean public.{text.strip()}?")
    if len(parts) > 2:
        raise ValueError(f"{text!r} has {len(parts)} parts; a table is named by its schema and its name: public.orders")
    for part in parts:
        check_length(part)
    return parts[0], parts[1]


def canonical_table(text: str) -> str:
    """The one way to write a table's name that is used everywhere: quotes only where a character needs them."""
    return ".".join(_quoted(part) for part in parse_table(text))


def check_length(name: str) -> None:
    """ValueError where PostgreSQL would cut the name off."""
    size = len(name.encode())
    if size > LONGEST_NAME_BYTES:
        raise ValueError(f"{name!r} is {size} bytes long; PostgreSQL's names have at most {LONGEST_NAME_BYTES}")


def _name_of(found: re.Match[str]) -> str:
    quoted, plain = found.groups()
    if quoted is not None:
        return str(quoted).replace('""', '"')
    # As PostgreSQL folds in a UTF-8 database: ASCII letters only.
    return re.sub("[A-Z]", lambda letter: letter[0].lower(), str(plain))


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'
