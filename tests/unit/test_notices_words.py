"""How a notice is said, and how many of them wait."""

import asyncio
import json

import pytest

from cdc_hooks.model import Cause
from cdc_hooks.ops.notices.book import Occurrence, Told
from cdc_hooks.ops.notices.outbox import MOST_WAITING, Outbox
from cdc_hooks.ops.notices.words import MOST_IN_A_MAIL, event, mail, notice_of

AT = 1_795_000_000.0
DEAD = Told(Cause.DEAD_LETTER, "order-sync", Occurrence("answered 500 größer", "resend it", AT), 14, AT - 600)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_words(cause):
    notice = notice_of(Told(cause, "order-sync", Occurrence("what", "hint", AT)), "msg_1")
    assert notice.type.startswith("cdc_hooks.")
    assert ("order-sync" in notice.headline) == (".webhook." in notice.type)


def test_the_event():
    assert json.loads(event(notice_of(DEAD, "msg_1"), "db-1")) == {
        "id": "msg_1",
        "type": "cdc_hooks.webhook.dead_letter",
        "timestamp": "2026-11-18T11:06:40.000000Z",
        "data": {
            "webhook": "order-sync",
            "what": "answered 500 größer",
            "hint": "resend it",
            "repeated": 14,
            "since": "2026-11-18T10:56:40.000000Z",
            "host": "db-1",
        },
    }


def test_a_mail_says_how_many_more_there_were():
    text = mail([notice_of(DEAD, "msg_1")], "db-1", "a@b.example", ["c@d.example"]).get_content()
    assert "What happened: answered 500 größer; and 14 more since 2026-11-18 10:56 UTC" in text


def test_a_mail_of_very_many():
    notices = [notice_of(DEAD, f"msg_{number}") for number in range(MOST_IN_A_MAIL + 7)]
    message = mail(notices, "db-1", "a@b.example", ["c@d.example"])
    assert message["Subject"] == f"[cdc-hooks] order-sync has a dead letter, and {MOST_IN_A_MAIL + 6} more"
    assert message.get_content().count("What to do") == MOST_IN_A_MAIL
    assert "7 more are left out here" in message.get_content()


def outbox_of(count):
    return Outbox("webhook", lambda outcome, number: count.append((outcome, number)), at_once=1, gather_s=0.0)


def test_of_too_many_the_oldest_go():
    counted, sent = [], []

    async def send(notices):
        sent.extend(notice.id for notice in notices)
        return "answered 200"

    async def main():
        outbox = outbox_of(counted)
        outbox.put(notice_of(DEAD, "before it was configured"))
        assert outbox.left == 0
        outbox.send = send
        for number in range(MOST_WAITING + 3):
            outbox.put(notice_of(DEAD, f"msg_{number}"))
        assert outbox.left == MOST_WAITING
        running = asyncio.create_task(outbox.run())
        await outbox.flush()
        running.cancel()

    asyncio.run(main())
    assert sent == [f"msg_{number}" for number in range(3, MOST_WAITING + 3)]
    assert counted == [("failed", 1)] * 3 + [("sent", 1)] * MOST_WAITING


def test_a_fault_of_ours_costs_one_notice_and_not_the_rest():
    counted, sent = [], []

    async def send(notices):
        if notices[0].id == "msg_0":
            raise ZeroDivisionError
        sent.append(notices[0].id)
        return "answered 200"

    async def main():
        outbox = outbox_of(counted)
        outbox.send = send
        for number in range(2):
            outbox.put(notice_of(DEAD, f"msg_{number}"))
        running = asyncio.create_task(outbox.run())
        await outbox.flush()
        running.cancel()

    asyncio.run(main())
    assert sent == ["msg_1"]
    assert counted == [("failed", 1), ("sent", 1)]
