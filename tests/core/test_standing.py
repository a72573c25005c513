"""What is told about a whole connection is a state, not an event."""

from __future__ import annotations

from entity_sync.core.frame import Frame
from entity_sync.core.outbox import Outbox
from entity_sync.core.standing import Standing, StandingMark

STALE = Frame(b'{"event":"stale"}')


def test_told_once_each_way():
    """stale is told once, fresh is told once, and nothing where both were missed."""
    standing = Standing()
    mark = StandingMark(standing, Outbox("v2", 100))
    assert mark.take() == []
    standing.stale = STALE
    assert mark.take() == [STALE]
    assert mark.take() == []
    standing.stale = None
    assert [frame.payload for frame in mark.take()] == [b'{"event":"fresh"}']
    standing.stale = STALE
    standing.stale = None
    assert mark.take() == []
