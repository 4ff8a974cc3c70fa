"""How a delivery is shown."""

from __future__ import annotations

from datetime import UTC, datetime

from cdc_hooks.cli.delivery_views import show_one
from cdc_hooks.ops.deliveries import Details, Found

AT = datetime(2026, 11, 21, 10, tzinfo=UTC)
FOUND = Found(
    number=7,
    open=True,
    webhook="order-sync",
    state="dead",
    kind="normal",
    message_id="msg_1",
    part_of=None,
    resend_of=None,
    table_name="public.orders",
    action="update",
    row_ids='["\x9b31m\u202eA-17"]',
    event_count=1,
    first_event="1-1",
    last_event="1-1",
    attempts=3,
    first_attempt_at=AT,
    last_attempt_at=AT,
    next_attempt_at=None,
    duration_s=0.1,
    last_status=500,
    last_error="answered 500",
    has_body=True,
)


def test_the_key_of_a_row_does_not_steer_the_terminal(capsys):
    show_one(FOUND, Details(None, None, None, None, None, None, None, None, retired=False), [], [], as_json=False)
    assert '"\N{REPLACEMENT CHARACTER}31m\N{REPLACEMENT CHARACTER}A-17"' in capsys.readouterr().out
