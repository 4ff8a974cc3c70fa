"""What goes over the wire: the formats of bodies, and the ids of messages.

A format is an entry in ``FORMATS``: how large its items and its envelope are at most, and how it is written. Nothing
else knows about formats.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING

from cdc_hooks.model import Action, Batch, Change, Gap, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cdc_hooks.shape.webhook import Shape

_EPOCH_DIGITS = 10  # an integer of PostgreSQL
_ITEM = b'{"eventId":"%b-%d","rowId":%b,"timestamp":"%b","data":%b}'
_ITEM_SIZE = len(_ITEM % (b"1" * _EPOCH_DIGITS, 0, b"", b"", b"")) - 1 + len(b",")  # less the one digit of the id
_KEY, _OLD_KEY, _AT, _DATA = (itemgetter(Change._fields.index(field)) for field in ("key", "old_key", "at", "data"))
_PLAIN_PARTS = itemgetter(*(Change._fields.index(field) for field in ("id", "key", "at", "data")))
_PREVIOUS = b',"previousRowId":'
_TRUNCATED = b',"truncated":true'
_LONGEST_ACTION = max((action.value for action in Action), key=len)


@dataclass(frozen=True)
class Format:
    """A shape of bodies. The two sizes are upper bounds, exact but for the digits of epochs, ids and counts."""

    item_sizes: Callable[[Sequence[Change]], list[int]]
    """Bytes of each change in the body, with the comma that follows it; the changes are in log order."""
    longest_item: Callable[[Sequence[Change]], int]
    """No item of these changes, with its comma, has more bytes; none of them has an old key."""
    envelope_size: Callable[[Shape, str], int]
    """Bytes of a body beside its items, for a table; the same whatever the keys are."""
    render: Callable[[Batch, Shape, Callable[[int], int]], Message]


def render(batch: Batch, shape: Shape, epoch_of: Callable[[int], int]) -> Message:
    """The batch made ready to send; ``epoch_of`` gives the epoch of a change's id and never falls as ids rise."""
    return FORMATS[shape.format].render(batch, shape, epoch_of)


def _render_batch(batch: Batch, shape: Shape, epoch_of: Callable[[int], int]) -> Message:
    first, last = batch.changes[0].id, batch.changes[-1].id
    first_epoch, last_epoch = epoch_of(first), epoch_of(last)
    if first_epoch == last_epoch:
        items = _items(batch.changes, b"%d" % first_epoch)
    else:
        items = [_item(change, b"%d" % epoch_of(change.id)) for change in batch.changes]
    joined = b",".join(items)
    message_id = _message_id(batch, shape, joined)
    return Message(
        id=message_id,
        body=b"".join([*_envelope(shape, batch.table, batch.action, len(items), message_id), joined, b"]}"]),
        table=batch.table,
        action=batch.action,
        event_count=len(items),
        first_event=f"{first_epoch}-{first}",
        last_event=f"{last_epoch}-{last}",
        first_at=batch.changes[0].at,
    )


def render_gap(gap: Gap, shape: Shape, epoch_of: Callable[[int], int]) -> Message:
    """The news that a range of events is lost to this webhook: the same in every format."""
    first, last = (f"{epoch_of(number)}-{number}" for number in (gap.after_id + 1, gap.upto_id))
    message_id = _id_of(hashlib.sha256(_json(["gap", shape.installation, shape.webhook, *gap])).digest())
    body = {
        "id": message_id,
        **({} if shape.hmac_key is None else {"hmac": _hmac(shape.hmac_key, message_id)}),
        **({} if shape.client_code is None else {"clientCode": shape.client_code}),
        "table": "*",
        "action": "gap",
        "eventCount": 0,
        "items": [],
        "gap": {"firstEventId": first, "lastEventId": last, "reason": gap.reason},
    }
    return Message(message_id, _json(body), "*", "gap", 0, first, last, None)


def _items(changes: Sequence[Change], epoch: bytes) -> list[bytes]:
    """The items of one epoch. Most batches have nothing special in them: no item is looked at by itself then."""
    if any(map(_OLD_KEY, changes)) or not (all(map(_KEY, changes)) and all(map(_DATA, changes))):
        return [_item(change, epoch) for change in changes]
    item = _ITEM.replace(b"%b", epoch, 1)
    return [item % parts for parts in map(_PLAIN_PARTS, changes)]


def _item(change: Change, epoch: bytes) -> bytes:
    number, _, _, key, old_key, at, data, truncated = change
    row_id = b"0" if key is None else key
    if old_key is not None:
        row_id = b"%b%b%b" % (row_id, _PREVIOUS, old_key)
    row = b"null" if data is None else data
    return _ITEM % (epoch, number, row_id, at, row + _TRUNCATED if truncated else row)


def _batch_item_sizes(changes: Sequence[Change]) -> list[int]:
    fixed = _ITEM_SIZE + len(str(changes[-1].id))
    return [
        fixed
        + len(at)
        + (1 if key is None else len(key))
        + (4 if data is None else len(data))
        + (0 if old_key is None else len(_PREVIOUS) + len(old_key))
        + (len(_TRUNCATED) if truncated else 0)
        for _, _, _, key, old_key, at, data, truncated in changes
    ]


def _batch_longest_item(changes: Sequence[Change]) -> int:
    parts = (max(map(len, map(part, changes))) for part in (_KEY, _AT))
    data = max((len(one) for one in map(_DATA, changes) if one is not None), default=0)
    return _ITEM_SIZE + len(str(changes[-1].id)) + sum(parts) + max(data, len(b"null") + len(_TRUNCATED))


def _batch_envelope_size(shape: Shape, table: str) -> int:
    longest_id = _id_of(bytes(16))
    # With a field for the HMAC in any case: another key must not make other batches.
    longest = shape if shape.hmac_key is not None else replace(shape, hmac_key=b"")
    head = _envelope(longest, table, Action(_LONGEST_ACTION), shape.max_events, longest_id)
    return sum(map(len, head)) + len(b"]}") - len(b",")  # the last item has no comma


def _envelope(shape: Shape, table: str, action: Action, count: int, message_id: str) -> tuple[bytes, ...]:
    """All of a body that comes before its items."""
    signature = b"" if shape.hmac_key is None else b'"hmac":"%b",' % _hmac(shape.hmac_key, message_id).encode()
    replay = b"" if shape.replay is None else b'"replay":%b,' % _json(shape.replay)
    client = b"" if shape.client_code is None else b'"clientCode":%b,' % _json(shape.client_code)
    return (
        b'{"id":"%b",' % message_id.encode(),
        signature,
        client,
        replay,
        b'"table":%b,"action":"%b",' % (_name_in_body(table), action.value.encode()),
        b'"eventCount":%d,"items":[' % count,
    )


def _hmac(key: bytes, message_id: str) -> str:
    """In hex, for receivers that look into the body alone."""
    return hmac.digest(key, message_id.encode(), "sha256").hex()


_PREFIX = "msg_"
_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps would make one each time


def _message_id(batch: Batch, shape: Shape, items: bytes) -> str:
    """Made of all that the body says, and of who says it: the same id means the same bytes, in every process."""
    said = (shape.format, shape.installation, shape.webhook, shape.client_code, batch.table, batch.action)
    digest = _said(*said, *(() if shape.replay is None else (shape.replay,))).copy()
    digest.update(items)
    return _id_of(digest.digest())


@lru_cache(maxsize=4096)
def _said(*who_and_what: str | None) -> hashlib._Hash:
    return hashlib.sha256(_json(who_and_what) + b"\n")  # half the time of blake2b here


def _id_of(digest: bytes) -> str:
    return _PREFIX + digest[:16].hex()


@lru_cache(maxsize=4096)
def _name_in_body(table: str) -> bytes:
    return _json(display_name(table))


def display_name(table: str) -> str:
    """How a body names a table: bare where the schema is public, else by its SQL name.

    A bare name with a dot in it would look like a table of another schema: it keeps its SQL name.
    """
    schema, _, name = table.partition(".")
    if name.startswith('"'):
        name = name[1:-1].replace('""', '"')
    return name if schema == "public" and "." not in name else table


def _json(value: object) -> bytes:
    return _TO_JSON(value).encode()


FORMATS = {"batch": Format(_batch_item_sizes, _batch_longest_item, _batch_envelope_size, _render_batch)}
