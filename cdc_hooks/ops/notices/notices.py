"""Joins what may be told with the channels that tell it."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable

import structlog

from cdc_hooks.config import Config, Notify
from cdc_hooks.deliver.faults import plain
from cdc_hooks.deliver.post import Sender
from cdc_hooks.model import Cause
from cdc_hooks.ops.metrics import Metrics
from cdc_hooks.ops.notices.book import Book, Occurrence, Told
from cdc_hooks.ops.notices.channels import NotSent, Send, to_email, to_webhook
from cdc_hooks.ops.notices.outbox import Outbox
from cdc_hooks.ops.notices.words import notice_of, sample

GATHER_S = 1.0
"""What happens within this time goes into one mail."""
MOST_IN_ONE = 1000

log = structlog.get_logger()

NewSender = Callable[[], Sender]


class Notices:
    """Lives as long as the process; only the leader has anything to tell.

    ``tell`` never waits and never raises. ``run`` sends.
    """

    def __init__(self, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._book = Book(Notify().interval, ())
        self._changed = asyncio.Event()
        self._webhook = Outbox("webhook", _counter(metrics, "webhook"), at_once=1, gather_s=0.0)
        self._email = Outbox("email", _counter(metrics, "email"), at_once=MOST_IN_ONE, gather_s=GATHER_S)

    def configure(self, config: Config, new_sender: NewSender) -> None:
        """Tell as the configuration says from now on, also what waits. ``new_sender``: to notify.webhook."""
        notify = config.notify
        channels = channels_of(notify, new_sender)
        self._webhook.send, self._email.send = channels.get("webhook"), channels.get("email")
        self._book.configure(notify.interval, notify.on if channels else (), config.webhooks)
        self._changed.set()

    def tell(self, cause: Cause, webhook: str | None, what: str, hint: str) -> None:
        """Tell somebody, unless the same was told within the interval: then it is counted, and told at its end."""
        try:
            webhook = None if webhook is None else _one_line(webhook)
            occurrence = Occurrence(_one_line(what), _one_line(hint), time.time())
            told = self._book.occurred(cause, webhook, occurrence, self._clock())
            if told is None:
                self._changed.set()
            else:
                self._put(told)
        except Exception:
            log.exception("notice_failed", cause=cause, webhook=webhook)

    async def run(self) -> None:
        """Send what there is to tell, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for outbox in (self._webhook, self._email):
                group.create_task(outbox.run())
            await self._tell_what_is_due()

    async def flush(self, within_s: float) -> None:
        """At the end of the process, beside ``run``: send what waits, once and without pauses, in this time."""
        try:
            async with asyncio.timeout(within_s):
                await asyncio.gather(self._webhook.flush(), self._email.flush())
        except TimeoutError:
            log.error("notices_unsent", webhook=self._webhook.left, email=self._email.left)  # noqa: TRY400 - not a fault of ours

    def stand_by(self) -> None:
        """The lead is given up or lost."""
        self._book.stand_by()

    async def _tell_what_is_due(self) -> None:
        while True:
            self._changed.clear()
            due = self._book.next_due()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._changed.wait()
            except TimeoutError:
                pass
            for told in self._book.due(self._clock()):
                self._put(told)

    def _put(self, told: Told) -> None:
        notice = notice_of(told, _new_id())
        for outbox in (self._webhook, self._email):
            outbox.put(notice)


def channels_of(notify: Notify, new_sender: NewSender) -> dict[str, Send]:
    """By name, those that are configured."""
    host = plain(socket.gethostname())
    channels = {}
    if notify.webhook is not None:
        channels["webhook"] = to_webhook(notify.webhook, new_sender, host)
    if notify.email is not None:
        channels["email"] = to_email(notify.email, host)
    return channels


async def try_out(send: Send) -> tuple[bool, str]:
    """Send a test now, once: whether it got through, and what was answered."""
    try:
        return True, await send([sample(_new_id(), time.time())])
    except NotSent as error:
        return False, error.why


def _new_id() -> str:
    return f"msg_{secrets.token_hex(16)}"


def _counter(metrics: Metrics, channel: str) -> Callable[[str, int], None]:
    def count(outcome: str, number: int) -> None:
        metrics.notices.labels(channel, outcome).inc(number)

    for outcome in ("sent", "failed"):
        count(outcome, 0)
    return count


def _one_line(text: str) -> str:
    return plain(" ".join(text.split()))
