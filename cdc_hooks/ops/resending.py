"""One resend in the database: the claim, so that nobody else sends the same, and what came of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cdc_hooks.changelog.connection import encoding_of
from cdc_hooks.config.choices import OnResent, Recorded
from cdc_hooks.deliver.ledger import FAILURE_BODY, SUCCESS_BODY
from cdc_hooks.deliver.storable import header_lines, storable
from cdc_hooks.ops.deliveries import SQL

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from cdc_hooks.config.ledger import Ledger as Rules
    from cdc_hooks.deliver.outcome import Outcome
    from cdc_hooks.ops.deliveries import Found


class Resends:
    """Of one run of ``resend``: what somebody else resends meanwhile is left alone."""

    def __init__(self, connection: psycopg.Connection[Any], rules: Rules) -> None:
        self._connection = connection
        self._rules = rules
        self._encoding = encoding_of(connection)
        self._run("tidy_as_leader", keep_s=rules.keep, max_bytes=rules.max_bytes)
        ((self._newest,),) = self._run("newest_number")

    def claim(self, one: Found) -> bytes | None:
        """Its body, ours until the end of the transaction; None if somebody else has it, or had it meanwhile."""
        self._run("be_patient")
        if one.open:
            rows = self._run("claim_letter", number=one.number, attempts=one.attempts)
        elif self._run("claim_number", number=one.number)[0][0]:
            rows = self._run("claim_finished", number=one.number, newest=self._newest)
        else:
            rows = []
        return rows[0][0] if rows else None

    def record(
        self, one: Found, outcome: Outcome, headers: Mapping[str, str], duration_s: float, error: str | None
    ) -> None:
        """Write what came of it; ``error``: why it failed, None if it got through."""
        ok = error is None
        said = {
            "number": one.number,
            "open": one.open,
            "at": time.time() - duration_s,
            "duration_s": outcome.duration_s,
            "status": outcome.status,
            "error_class": outcome.error_class,
            "error": None if error is None else self._text(error),
            "request_headers": self._text(header_lines(headers.items())),
            "response_headers": self._text(header_lines(outcome.headers)),
            "response_body": outcome.body[:FAILURE_BODY] if not ok or self._rules.bodies is Recorded.ALL else None,
        }
        recorded = self._rules.log is not Recorded.NONE
        if ok and said["response_body"]:
            said["response_body"] = outcome.body[:SUCCESS_BODY]
        if recorded:
            self._run("record_resend", **said, state="delivered" if ok else "failed")
        if one.open and ok:
            if recorded and self._rules.on_resent is OnResent.MARK:
                self._run("record_resent", **said, keep_body=self._rules.bodies is not Recorded.NONE)
            self._run("close_letters", numbers=[one.number], waiting_too=True)
        elif one.open:
            ((attempt,),) = self._run("record_failure", **said)
            if recorded:
                self._run("record_attempt", **said, attempt=attempt)

    def _run(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(SQL[query].encode(), parameters)
        return cursor.fetchall() if cursor.description else []

    def _text(self, text: str) -> str:
        return storable(text, self._encoding)
