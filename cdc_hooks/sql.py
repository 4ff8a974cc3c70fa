"""The only place that reads SQL from files.

``sql/`` at the top of the repository travels inside the wheel as ``cdc_hooks/_sql``. A file of queries holds blocks
that begin with ``-- name: some_name``; a template is a whole file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGED = Path(__file__).parent / "_sql"
SQL_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "sql"

_MARK = "-- name: "


@cache
def text(name: str) -> str:
    """The text of ``sql/NAME``."""
    return (SQL_DIR / name).read_text(encoding="utf-8")


@cache
def queries(name: str) -> dict[str, str]:
    """The named blocks of ``sql/queries/NAME.sql``."""
    blocks: dict[str, str] = {}
    for block in text(f"queries/{name}.sql").split(_MARK)[1:]:
        title, _, body = block.partition("\n")
        if title.strip() in blocks:
            raise ValueError(f"sql/queries/{name}.sql names {title.strip()!r} twice")
        blocks[title.strip()] = body.strip().rstrip(";")
    return blocks
