"""Which held deliveries may go when what they waited for has gone."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cdc_hooks.ops.deliveries import Found
from cdc_hooks.ops.following import followers, rows_of

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)


def set_aside(number: int, state: str, *keys: object, webhook: str = "w", table: str = "public.orders") -> Found:
    said = {"part_of": None, "resend_of": None, "next_attempt_at": None, "duration_s": None, "last_status": None}
    return Found(
        number=number,
        open=True,
        webhook=webhook,
        state=state,
        kind="normal",
        message_id=f"msg_{number}",
        table_name=table,
        action="update",
        row_ids=json.dumps(keys),
        event_count=len(keys),
        first_event="1-1",
        last_event="1-1",
        attempts=1,
        first_attempt_at=NOW,
        last_attempt_at=NOW,
        last_error="",
        has_body=True,
        **said,
    )


GONE = rows_of(set_aside(1, "rejected", 7))
LETTER, OTHER = set_aside(2, "rejected", 8), set_aside(3, "dead", 7)


@pytest.mark.parametrize(
    ("there", "follow"),
    [
        ([], []),
        ([set_aside(4, "held", 7), set_aside(5, "held", 7)], [4, 5]),
        ([set_aside(4, "held", 8)], []),
        ([set_aside(4, "held", "7")], []),
        ([set_aside(4, "held", 7, webhook="v")], []),
        ([set_aside(4, "held", 7, table="public.lines")], []),
        # Behind another letter of the row, and then all that comes after it.
        ([OTHER, set_aside(4, "held", 7)], []),
        ([set_aside(4, "held", 7), set_aside(5, "rejected", 7), set_aside(6, "held", 7)], [4]),
        # With a row that still waits for another letter.
        ([LETTER, set_aside(4, "held", 7, 8), set_aside(5, "held", 7)], []),
        ([LETTER, set_aside(4, "held", 7), set_aside(5, "held", 7, 8), set_aside(6, "held", 7)], [4]),
        # A key that was changed ties two rows.
        ([set_aside(4, "held", 9, 7), set_aside(5, "held", 9)], [4, 5]),
        ([set_aside(4, "held", 9), set_aside(5, "held", 9, 7)], []),
    ],
)
def test_what_follows(there: list[Found], follow: list[int]) -> None:
    assert [one.number for one in followers(there, GONE)] == follow
