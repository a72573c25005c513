"""What is told about a whole connection is a state, not an event."""

from __future__ import annotations

import msgspec

from entity_sync.core.frame import Frame
from entity_sync.core.messages import Stale
from entity_sync.core.outbox import Mark, Outbox
from entity_sync.core.standing import Standing, StandingMark
from entity_sync.core.trouble import Trouble

STALE = Trouble(Stale(reason="broker", age_ms=0), 0.0)
SAID = b'{"event":"stale","reason":"broker","age_ms":0}'
FRESH = b'{"event":"fresh"}'


class Rows(Mark):
    """A state that is at hand when the test says so."""

    is_at_hand = True

    def take(self, now: float) -> list[Frame]:
        self.outbox.lacking.pop(self, None)
        if self.is_at_hand:
            return [Frame(b"rows")]
        self.outbox.lacking[self] = None
        return []


def told(outbox: Outbox, *marks: Mark, budget: int = 100) -> list[bytes]:
    for mark in marks:
        outbox.mark(mark)
    return [frame.payload for frame in outbox.take(budget, 0.0)]


def test_told_once_each_way():
    """stale is told once, fresh is told once, and nothing where both were missed."""
    standing, outbox = Standing(), Outbox("v2", 100)
    mark = StandingMark(standing, outbox)
    assert told(outbox, mark) == []
    standing.stale = STALE
    assert told(outbox, mark) == [SAID]
    assert told(outbox, mark) == []
    standing.stale = None
    assert told(outbox, mark) == [FRESH]
    standing.stale = STALE
    standing.stale = None
    assert told(outbox, mark) == []


def test_told_as_old_as_it_is():
    """Who is told later is told a greater age."""
    standing, outbox = Standing(), Outbox("v2", 100)
    standing.stale = STALE
    for now in (1.5, 3_600.0):
        outbox.mark(StandingMark(standing, outbox))
        [frame] = outbox.take(100, now)
        assert msgspec.json.decode(frame.payload)["age_ms"] == now * 1_000


def test_fresh_comes_last():
    """Behind the states that make it true, whichever was marked first, and however many writes they need."""
    standing, outbox = Standing(), Outbox("v2", 100)
    mark, one, two = StandingMark(standing, outbox), Rows(outbox), Rows(outbox)
    standing.stale = STALE
    assert told(outbox, one, mark) == [b"rows", SAID]
    standing.stale = None
    assert told(outbox, mark, one, two, budget=1) == [b"rows"]
    assert told(outbox) == [b"rows", FRESH]


def test_fresh_waits_for_rows_that_are_not_at_hand():
    """They were given up and have to be loaded; where nobody wants them any more, it waits no longer."""
    standing, outbox = Standing(), Outbox("v2", 100)
    mark, one, two = StandingMark(standing, outbox), Rows(outbox), Rows(outbox)
    standing.stale = STALE
    told(outbox, mark)
    standing.stale = None
    one.is_at_hand = two.is_at_hand = False
    assert told(outbox, mark, one, two) == []
    one.is_at_hand = True
    assert told(outbox, one) == [b"rows"]
    outbox.forget(two)
    outbox.put(Frame(b"beat"))
    assert told(outbox) == [b"beat", FRESH]


def test_told_at_once_where_states_are_withheld():
    """Once, with the age of the node's own trouble if it has one; fresh follows the states."""
    for trouble, age in ((None, 500), (STALE, 2_000)):
        standing, outbox = Standing(), Outbox("v2", 100)
        mark, one = StandingMark(standing, outbox), Rows(outbox)
        outbox.suspended, standing.stale, mark.is_withheld = True, trouble, True
        [frame] = mark.doubt(1.5, 2.0)
        stale = {"event": "stale", "reason": "broker", "age_ms": age}
        assert msgspec.json.decode(frame.payload) == stale
        assert mark.doubt(1.5, 3.0) == []
        standing.stale = None
        assert told(outbox, mark, one) == []
        outbox.suspended = False
        assert told(outbox) == [b"rows"]
        assert told(outbox, mark) == []
        mark.is_withheld = False
        assert told(outbox, mark, one) == [b"rows", FRESH]
        assert told(outbox, mark) == []


def test_stale_again_before_fresh_was_told():
    """Then nothing is told: the client says stale still."""
    standing, outbox = Standing(), Outbox("v2", 100)
    mark, one = StandingMark(standing, outbox), Rows(outbox)
    standing.stale = STALE
    told(outbox, mark)
    standing.stale, one.is_at_hand = None, False
    assert told(outbox, mark, one) == []
    standing.stale = STALE
    one.is_at_hand = True
    assert told(outbox, mark, one) == [b"rows"]
    standing.stale = None
    assert told(outbox, mark) == [FRESH]
