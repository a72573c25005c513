"""Which views wait, and which of them one load is for."""

from __future__ import annotations

import pytest

from entity_sync.core import index
from entity_sync.core.view import View
from entity_sync.hub import queues
from entity_sync.hub.queues import Queue
from entity_sync.model import Audience, EntityKey


def view(id: str, audience: Audience = None, attempts: int = 0) -> View:
    view = View(EntityKey("prices", id), audience, 1)
    view.attempts = attempts
    return view


def filled(*views: View) -> Queue:
    queue = Queue()
    for each in views:
        queue.add(each)
    return queue


def test_the_longest_wait_first():
    """A batch is for whoever waits longest and the next ones of that audience; 1 and True are two."""
    views = [view("1", 1), view("2", True), view("3", 1), view("4", True), view("5", 1)]
    queue = filled(*views)
    queue.add(views[0])
    assert len(queue) == 5
    assert list(queue.take(2)) == [views[0], views[2]]
    assert list(queue.take(2)) == [views[1], views[3]]
    assert list(queue.take(2)) == [views[4]]
    assert not queue


def test_those_that_failed_are_apart():
    """A key that comes while others are to be tried again is not loaded with them."""
    views = [view("1", attempts=2), view("2"), view("3", attempts=1), view("4")]
    queue = filled(*views)
    assert list(queue.take(10)) == [views[0], views[2]]
    assert list(queue.take(10)) == [views[1], views[3]]


def test_preferred_and_gone():
    """One can be made the next, and one that nobody watches any more waits no longer."""
    views = [view(id) for id in "1234"]
    queue = filled(*views)
    queue.prefer(views[3])
    queue.discard(views[1])
    queue.discard(views[1])
    assert list(queue) == [views[3], views[0], views[2]]
    assert list(queue.take(2)) == [views[3], views[0]]
    queue.discard(views[2])
    assert not queue


def test_many_audiences_cost_no_scan(monkeypatch: pytest.MonkeyPatch):
    """What one batch costs does not grow with those that wait for other audiences."""
    asked: list[Audience] = []

    def spelled(audience: Audience) -> str:
        asked.append(audience)
        return index.spelled(audience)

    monkeypatch.setattr(queues, "spelled", spelled)
    views = [view("1", f"user {number}") for number in range(1_000)]
    queue = filled(*views)
    assert [list(queue.take(500)) for _ in views] == [[each] for each in views]
    assert len(asked) == len(views)
