"""The audit that the running daemon repeats: whether everything is captured that should be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from psycopg.rows import dict_row

from cdc_hooks.capture import CATALOG_QUERIES, Finding, Wanted, findings, parameters
from cdc_hooks.changelog.connection import translated
from cdc_hooks.model import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from cdc_hooks.ops.metrics import Metrics
    from cdc_hooks.ops.notices import Notices

_HINT = "run: cdc-hooks plan, then cdc-hooks apply"
_NAMED = 3
"""So many findings are told in a notice; the others are counted."""

log = structlog.get_logger()


class CaptureWatch:
    """Says what is wrong when it appears, and that it is well again; keeps the metric."""

    def __init__(self, connection: AsyncConnection[Any], metrics: Metrics, notices: Notices) -> None:
        self._connection = connection
        self._metrics = metrics
        self._notices = notices
        self._known: set[Finding] = set()
        self._tables: set[str] = set()

    async def look(self, wanted: Sequence[Wanted]) -> None:
        tables = [one.table for one in wanted]
        rows = {}
        with translated():
            for name, query in CATALOG_QUERIES.items():
                async with self._connection.cursor(row_factory=dict_row) as cursor:
                    await cursor.execute(query.encode(), parameters(tables))
                    rows[name] = await cursor.fetchall()
        found = set(findings(wanted, rows))
        new = sorted(found - self._known, key=str)
        for finding in new:
            log.error(
                "capture_not_as_configured",
                table=finding.table,
                action=finding.action and finding.action.value,
                state=finding.state.value,
                detail=finding.detail,
                hint=_HINT,
            )
        if new:
            self._notices.tell(Cause.CAPTURE, None, _in_words(new), _HINT)
        for healed in sorted(self._known - found, key=str):
            log.info("capture_as_configured_again", table=healed.table, detail=healed.detail)
        self._known = found
        sick = {finding.table for finding in found}
        for gone in self._tables - set(tables):
            self._metrics.capture_healthy.remove(gone)
        for table in tables:
            self._metrics.capture_healthy.labels(table).set(table not in sick)
        self._tables = set(tables)


def _in_words(new: Sequence[Finding]) -> str:
    named = "; ".join(f"{finding.table}: {finding.detail}" for finding in new[:_NAMED])
    return named + (f"; and {len(new) - _NAMED} more" if len(new) > _NAMED else "")
