"""Answers in order, marks instead of states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entity_sync.core.frame import Frame
from entity_sync.core.outbox import Mark, Outbox, Overflow


class News(Mark):
    """A mark whose frames are made when they are taken."""

    def __init__(self, outbox: Outbox, name: str, size: int = 1) -> None:
        super().__init__(outbox)
        self.name = name
        self.size = size

    def take(self) -> list[Frame]:
        return [Frame(self.name.encode() * self.size)]


def taken(outbox: Outbox, budget: int = 1_000) -> list[bytes]:
    return [frame.payload for frame in outbox.take(budget)]


def test_answers_before_news():
    """Answers come first, in order; each mark comes once, in the order of the first mark."""
    outbox = Outbox("v2", 100)
    one, two = News(outbox, "one"), News(outbox, "two")
    for mark in (one, two, one):
        outbox.mark(mark)
    outbox.put(Frame(b"a"))
    outbox.put(Frame(b"b"))
    assert taken(outbox) == [b"a", b"b", b"one", b"two"]
    assert outbox.idle
    assert taken(outbox) == []


def test_a_mark_without_news():
    """A mark that has nothing to tell is taken and brings no frame."""
    outbox = Outbox("v2", 100)
    outbox.mark(Mark(outbox))
    assert taken(outbox) == []


def test_forgotten_news():
    """What is forgotten is not taken; forgetting twice is harmless."""
    outbox = Outbox("v2", 100)
    news = News(outbox, "x")
    outbox.mark(news)
    outbox.forget(news)
    outbox.forget(news)
    assert outbox.idle


def test_budget_leaves_the_rest():
    """News is taken up to the budget; what is left keeps its turn."""
    outbox = Outbox("v2", 100)
    for name in "abc":
        outbox.mark(News(outbox, name, size=60))
    assert [payload[:1] for payload in taken(outbox, 100)] == [b"a", b"b"]
    assert [payload[:1] for payload in taken(outbox, 100)] == [b"c"]


def test_suspended_withholds_news_only():
    """While suspended, answers pass and news waits."""
    outbox = Outbox("v2", 100)
    outbox.mark(News(outbox, "x"))
    outbox.suspended = True
    assert outbox.idle
    outbox.put(Frame(b"a"))
    assert not outbox.idle
    assert taken(outbox) == [b"a"]
    outbox.suspended = False
    assert taken(outbox) == [b"x"]


def test_blocked_is_idle():
    """A connection that takes nothing is not worth a flush."""
    outbox = Outbox("v2", 100)
    outbox.put(Frame(b"a"))
    outbox.blocked = True
    assert outbox.idle


def test_answers_are_bounded():
    """More unread answers than the limit overflow; taking them makes room again."""
    outbox = Outbox("v2", 10)
    outbox.put(Frame(b"x" * 10))
    taken(outbox)
    outbox.put(Frame(b"x" * 6))
    with pytest.raises(Overflow):
        outbox.put(Frame(b"x" * 5))


class Counter(Mark):
    """A mark of a state that keeps changing: taking it brings the newest."""

    def __init__(self, outbox: Outbox, name: str) -> None:
        super().__init__(outbox)
        self.name = name
        self.newest = self.taken = 0

    def take(self) -> list[Frame]:
        if self.taken == self.newest:
            return []
        self.taken = self.newest
        return [Frame(f"{self.name}{self.newest:09}".encode())]


_SIZE = 10  # of a counter's frame

STEPS = st.lists(
    st.tuples(st.just("put"), st.integers(1, 40))
    | st.tuples(st.sampled_from(["change", "forget"]), st.integers(0, 3))
    | st.tuples(st.just("suspend"), st.integers(0, 1))
    | st.tuples(st.just("take"), st.integers(0, 35)),
    max_size=60,
)


@given(STEPS)
def test_like_a_model(steps: list[tuple[str, int]]):
    """Answers arrive whole and in order, marks in theirs with the newest state, and budgets hold."""
    outbox = Outbox("v2", 100)
    counters = [Counter(outbox, name) for name in "abcd"]
    answers: list[bytes] = []
    marked: list[Counter] = []

    def put(size: int) -> None:
        answer = b"x" * size
        if sum(map(len, answers)) + size > 100:
            with pytest.raises(Overflow):
                outbox.put(Frame(answer))
            taken(outbox, 0)  # the connection is closed now; go on with an empty one
            answers.clear()
        else:
            outbox.put(Frame(answer))
            answers.append(answer)

    def change(which: int) -> None:
        counter = counters[which]
        counter.newest += 1
        outbox.mark(counter)
        if counter not in marked:
            marked.append(counter)

    def forget(which: int) -> None:
        outbox.forget(counters[which])
        if counters[which] in marked:
            marked.remove(counters[which])

    def suspend(on: int) -> None:
        outbox.suspended = bool(on)

    def take(budget: int) -> None:
        room = max(0, budget - sum(map(len, answers)))
        due = [] if outbox.suspended else marked[: -(-room // _SIZE)]
        news = [f"{counter.name}{counter.newest:09}".encode() for counter in due]
        assert taken(outbox, budget) == [*answers, *news]
        answers.clear()
        del marked[: len(due)]

    do: dict[str, Callable[[int], None]] = {
        "put": put, "change": change, "forget": forget, "suspend": suspend, "take": take
    }  # fmt: skip
    for step, argument in steps:
        do[step](argument)
        assert outbox.idle == (not answers and (not marked or outbox.suspended))
    outbox.suspended = False
    take(1_000)
    assert outbox.idle
