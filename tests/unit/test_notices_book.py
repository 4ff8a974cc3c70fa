"""What may be told now, given what was told when: at most one of each cause, webhook and interval."""

import random
from itertools import pairwise

import pytest

from cdc_hooks.model import Cause
from cdc_hooks.ops.notices.book import Book, Occurrence

SICK, PAUSED, RECOVERED, DEAD = Cause.SICK, Cause.PAUSED, Cause.RECOVERED, Cause.DEAD_LETTER
HOUR = 3600.0
EPOCH = 1_795_000_000.0


def played(*events, on=tuple(Cause), interval_s=HOUR, until=None):
    """(seconds, cause[, webhook]) in order → [(seconds, cause, repeated)] that is told, also when it is due."""
    book, told = Book(interval_s, on), []

    def pass_to(now):
        while (due := book.next_due()) is not None and due <= now:
            told.extend((due, one.cause.value, one.repeated) for one in book.due(due))

    for now, cause, *webhook in events:
        pass_to(now)
        one = book.occurred(cause, (webhook or ["order-sync"])[0], Occurrence("what", "hint", EPOCH + now), now)
        if one is not None:
            told.append((now, one.cause.value, one.repeated))
    if until is not None:
        pass_to(until)
    return told


@pytest.mark.parametrize(
    ("events", "told"),
    [
        pytest.param([(0, DEAD)], [(0, "dead_letter", 0)], id="the first at once"),
        pytest.param([(0, DEAD), (HOUR, DEAD)], [(0, "dead_letter", 0), (HOUR, "dead_letter", 0)], id="after it again"),
        pytest.param(
            [(0, DEAD), *((10 * n, DEAD) for n in range(1, 16))],
            [(0, "dead_letter", 0), (HOUR, "dead_letter", 14)],
            id="what was counted is told at the end",
        ),
        pytest.param(
            [(0, DEAD), (5, DEAD, "crm"), (6, SICK)],
            [(0, "dead_letter", 0), (5, "dead_letter", 0), (6, "sick", 0)],
            id="each webhook and cause by itself",
        ),
        pytest.param([(0, SICK), (60, RECOVERED)], [(0, "sick", 0), (60, "recovered", 0)], id="an outage and its end"),
        pytest.param([(0, PAUSED), (9, RECOVERED)], [(0, "paused", 0), (9, "recovered", 0)], id="a pause and its end"),
        pytest.param([(0, RECOVERED)], [], id="no recovery without trouble"),
        pytest.param(
            [(0, SICK), (5, RECOVERED), (6, RECOVERED)], [(0, "sick", 0), (5, "recovered", 0)], id="recovered once"
        ),
        pytest.param(
            [(0, SICK), (5, PAUSED), (9, RECOVERED)],
            [(0, "sick", 0), (5, "paused", 0), (9, "recovered", 0)],
            id="one recovery of two troubles",
        ),
        pytest.param(
            [(n * 5, (SICK, RECOVERED)[n % 2]) for n in range(400)],
            [(0, "sick", 0), (5, "recovered", 0)],
            id="one pair of a webhook that flaps and is well at last",
        ),
        pytest.param(
            [(n * 5, (SICK, RECOVERED)[n % 2]) for n in range(401)],
            [(0, "sick", 0), (5, "recovered", 0), (HOUR, "sick", 199)],
            id="one that is sick at last is told of at the end of the interval",
        ),
        pytest.param(
            [(0, SICK), (HOUR, SICK), (2 * HOUR, SICK), (2.1 * HOUR, RECOVERED), (2.2 * HOUR, SICK)],
            [
                *((n * HOUR, "sick", 0) for n in range(3)),
                (2.1 * HOUR, "recovered", 0),
                (2.2 * HOUR, "sick", 0),
            ],
            id="after a long outage the next one is told at once",
        ),
        pytest.param(
            [(0, SICK), (5, RECOVERED), (10, PAUSED), (15, RECOVERED)],
            [(0, "sick", 0), (5, "recovered", 0), (10, "paused", 0), (HOUR, "recovered", 0)],
            id="the second recovery waits",
        ),
        pytest.param(
            [(0, SICK), (5, RECOVERED), (10, PAUSED), (15, RECOVERED), (20, PAUSED)],
            [(0, "sick", 0), (5, "recovered", 0), (10, "paused", 0), (HOUR + 10, "paused", 0)],
            id="a recovery that waits and is no longer true is not told",
        ),
        pytest.param(
            [(0, SICK), (5, RECOVERED), (10, SICK), (50, RECOVERED)],
            [(0, "sick", 0), (5, "recovered", 0)],
            id="neither a trouble that waited and is over, nor its recovery",
        ),
    ],
)
def test_what_is_told(events, told):
    assert played(*events, until=10 * HOUR) == told


def test_what_is_not_wanted_is_not_told():
    assert played((0, SICK), (1, DEAD), (2, RECOVERED), on=(DEAD, RECOVERED)) == [(1, "dead_letter", 0)]


def test_the_latest_is_told_and_since_when_there_were_more():
    book = Book(HOUR, Cause)
    for number in range(4):
        book.occurred(DEAD, "order-sync", Occurrence(f"delivery {number}", "", EPOCH + number), 100.0 + number)
    (told,) = book.due(100.0 + HOUR)
    assert told.occurrence.what == "delivery 3"
    assert (told.repeated, told.since) == (2, EPOCH + 1)
    assert book.due(200.0 + HOUR) == []
    assert book.next_due() is None


@pytest.mark.parametrize("seed", range(20))
def test_never_more_than_the_interval_allows(seed):
    """Whatever happens: of a cause that is no trouble one in an interval, of outages as many as their beginnings."""
    pick = random.Random(seed)
    now, events = 0.0, []
    for _ in range(2000):
        now += pick.choice([0, 1, 30, 600])
        events.append((now, pick.choice([SICK, PAUSED, RECOVERED, DEAD, DEAD])))
    told = played(*events, until=now + 2 * HOUR)
    dead = [at for at, cause, _ in told if cause == "dead_letter"]
    assert all(after - before >= HOUR for before, after in pairwise(dead))
    for trouble in ("sick", "paused"):
        outages, lasting = [], False
        for at, cause, _ in told:
            if cause == trouble and not lasting:
                outages.append(at)
            lasting = cause == trouble or (lasting and cause != "recovered")
        assert len(outages) > 5
        assert all(after - before >= HOUR for before, after in pairwise(outages))
    troubled = False
    for _, cause, _ in told:
        assert cause != "recovered" or troubled
        troubled = cause in ("sick", "paused") or (troubled and cause != "recovered")
    # Nothing is lost from view either: the last thing that is told of the state is how it is.
    last = next(cause.value for _, cause in reversed(events) if cause is not DEAD)
    said = next(cause for _, cause, _ in reversed(told) if cause != "dead_letter")
    assert (last == "recovered") == (said == "recovered")
    counted = [repeated + 1 for _, cause, repeated in told if cause == "dead_letter"]
    assert sum(counted) == sum(cause is DEAD for _, cause in events)


def test_the_wall_clock_may_jump():
    book = Book(HOUR, Cause)
    assert book.occurred(DEAD, "w", Occurrence("", "", EPOCH), 0.0)
    assert book.occurred(DEAD, "w", Occurrence("", "", EPOCH + 100 * HOUR), 5.0) is None
    assert book.occurred(DEAD, "w", Occurrence("", "", EPOCH - 100 * HOUR), HOUR)


def test_memory_is_bounded_and_comes_back():
    book = Book(HOUR, Cause, most=10)
    for number in range(1000):
        told = book.occurred(SICK, f"w{number}", Occurrence("", "", EPOCH), 0.0)
        assert (told is not None) == (number < 10)
    assert len(book) == 10
    for number in range(10):
        assert book.occurred(RECOVERED, f"w{number}", Occurrence("", "", EPOCH), 1.0)  # also without room
    assert len(book) == 20
    assert book.occurred(SICK, "another", Occurrence("", "", EPOCH), HOUR)
    assert len(book) < 20
    dead = Book(HOUR, Cause, most=10)
    for number in range(30):
        assert dead.occurred(DEAD, f"w{number}", Occurrence("", "", EPOCH), number * HOUR / 5)
    assert len(dead) <= 10


def test_another_configuration():
    book = Book(HOUR, Cause)
    for webhook in ("kept", "gone"):
        for _ in range(2):
            book.occurred(DEAD, webhook, Occurrence("", "", EPOCH), 0.0)
        book.occurred(SICK, webhook, Occurrence("", "", EPOCH), 0.0)
    book.configure(60.0, [DEAD], ["kept"])
    assert len(book) == 1
    assert [(told.webhook, told.cause) for told in book.due(60.0)] == [("kept", DEAD)]


def test_standing_by_tells_no_states():
    book = Book(HOUR, Cause)
    for cause in (SICK, DEAD):
        for now in (0.0, 1.0):
            book.occurred(cause, "w", Occurrence("", "", EPOCH), now)
    book.stand_by()
    assert [told.cause for told in book.due(2 * HOUR)] == [DEAD]
