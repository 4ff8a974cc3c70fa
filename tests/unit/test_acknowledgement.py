"""What a receiver says of single events."""

from __future__ import annotations

import json

import pytest

from cdc_hooks.deliver.acknowledgement import Acknowledgement, failed_events, longest, read

SENT = {"1-4711": 4711, "1-4712": 4712}
ALL = Acknowledgement()


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b"[]", b"null", b'"failed"', b'{"ok": true}', b'{"failed": []}'])
def test_what_names_nothing_acknowledges_all(body: bytes) -> None:
    assert read(body, SENT, complete=True) == ALL


def test_events_are_named_by_their_ids() -> None:
    assert read(b'{"failed": ["1-4711"]}', SENT, complete=True) == Acknowledgement(frozenset({4711}))
    assert read(b'{"failed": ["1-4711", "1-4712", "1-4711"]}', SENT, complete=True).failed == {4711, 4712}


@pytest.mark.parametrize(
    ("body", "complete", "why"),
    [
        (b"", False, "did not come to its end"),
        (b"ok", True, "not JSON"),
        (b'{"failed": ["1-4711"', True, "not JSON"),
        (b"\xff\xfe", True, "not JSON"),
        (b"[" * 16_000, True, "not JSON"),
        (b'{"failed": ["1-4711"]}', False, "did not come to its end"),
        (b'{"failed": "1-4711"}', True, "not a list"),
        (b'{"failed": [4711]}', True, "not a list"),
        (b'{"failed": null}', True, "not a list"),
        (b'{"failed": ["1-4711", "1-9"]}', True, "'1-9', which is no event of this batch"),
        (b'{"failed": ["1-x"]}', True, "no event of this batch"),
        ('{"failed": ["1-²"]}'.encode(), True, "no event of this batch"),
        (json.dumps({"failed": ["1-" + "9" * 5000]}).encode(), True, "no event of this batch"),
    ],
)
def test_what_is_not_understood_acknowledges_all_and_is_complained_about(body, complete, why) -> None:
    said = read(body, SENT, complete=complete)
    assert said.failed == frozenset()
    assert why in (said.complaint or "")


@pytest.mark.parametrize("events", [1, 100, 1000])
def test_an_answer_that_names_every_event_is_not_too_long(events: int) -> None:
    longest_id = "4294967295-9223372036854775807"
    answer = {"failed": [longest_id] * events, "why": {f"{longest_id}{n}": "not in stock" for n in range(events)}}
    assert len(json.dumps(answer, indent=16)) < longest(events)


def test_how_many_events_of_a_body_an_answer_names() -> None:
    sent = json.dumps({"id": "msg_1", "items": [{"eventId": "1-1"}, {"eventId": "1-2"}]}).encode()
    assert failed_events(b'{"failed": ["1-2"]}', sent, complete=True) == (1, 2)
    assert failed_events(b"", sent, complete=True) == (0, 2)
    assert failed_events(b'{"failed": ["1-3"]}', sent, complete=True) == (0, 2)
