"""Answers in order, marks instead of states."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from entity_sync.core.frame import Frame
from entity_sync.core.outbox import Mark, Outbox, Overflow


class News(Mark):
    """A mark whose frames are made when they are taken."""

    def __init__(self, outbox: Outbox, name: str, size: int = 1) -> None:
        super().__init__(outbox)
        self.name = name
        self.size = size

    def take(self, now: float) -> list[Frame]:
        return [Frame(self.name.encode() * self.size)]


def taken(outbox: Outbox, budget: int = 1_000) -> list[bytes]:
    return [frame.payload for frame in outbox.take(budget, 0.0)]


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


def test_one_long_answer():
    """It waits where nothing else does, whatever its length; beside it nothing does."""
    outbox = Outbox("v2", 10)
    outbox.put(Frame(b"x" * 11))
    with pytest.raises(Overflow):
        outbox.put(Frame(b"y"))
    assert taken(outbox) == [b"x" * 11]
    outbox.put(Frame(b"y"))
    assert taken(outbox) == [b"y"]


def test_one_answer_over_the_limit():
    """Exactly the limit may wait; another answer overflows, and none is sent by halves."""
    outbox = Outbox("v2", 10)
    outbox.put(Frame(b"x" * 10))
    with pytest.raises(Overflow):
        outbox.put(Frame(b"y"))
    assert taken(outbox) == [b"x" * 10]


@pytest.mark.parametrize("state", ["queued", "blocked", "suspended"])
def test_who_flushes(state: str):
    """A mark asks for a flush, unless one is coming or would bring nothing; it is remembered all the same."""
    outbox = Outbox("v2", 100)
    assert outbox.mark(News(outbox, "a"))
    setattr(outbox, state, True)
    assert not outbox.mark(News(outbox, "b"))
    setattr(outbox, state, False)
    assert taken(outbox) == [b"a", b"b"]


def test_answers_use_up_the_budget():
    """Answers count in the budget, so many of them leave the news for the next time."""
    outbox = Outbox("v2", 100)
    outbox.put(Frame(b"x" * 50))
    outbox.mark(News(outbox, "n"))
    assert taken(outbox, 50) == [b"x" * 50]
    assert taken(outbox, 1) == [b"n"]


class Counter(Mark):
    """A mark of a state that keeps changing: taking it brings the newest."""

    def __init__(self, outbox: Outbox, name: str) -> None:
        super().__init__(outbox)
        self.name = name
        self.newest = self.taken = 0

    def take(self, now: float) -> list[Frame]:
        if self.taken == self.newest:
            return []
        self.taken = self.newest
        return [Frame(f"{self.name}{self.newest:09}".encode())]


SIZE = 10  # of a counter's frame


class OutboxMachine(RuleBasedStateMachine):
    """An outbox beside a naive model of it: a list of answers, and a list of what is marked."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox("v2", 100)
        self.counters = [Counter(self.outbox, name) for name in "abcd"]
        self.answers: list[bytes] = []
        self.marked: list[Counter] = []

    @rule(size=st.integers(1, 40))
    def put(self, size: int) -> None:
        if sum(map(len, self.answers)) + size <= 100:
            self.answers.append(b"x" * size)
            self.outbox.put(Frame(self.answers[-1]))

    @rule(which=st.integers(0, 3))
    def change(self, which: int) -> None:
        counter = self.counters[which]
        counter.newest += 1
        self.outbox.mark(counter)
        if counter not in self.marked:
            self.marked.append(counter)

    @rule(which=st.integers(0, 3))
    def forget(self, which: int) -> None:
        self.outbox.forget(self.counters[which])
        self.marked = [counter for counter in self.marked if counter is not self.counters[which]]

    @rule(suspended=st.booleans())
    def suspend(self, suspended: bool) -> None:
        self.outbox.suspended = suspended

    @rule(budget=st.integers(1, 50))
    def take(self, budget: int) -> None:
        room = max(0, budget - sum(map(len, self.answers)))
        due = [] if self.outbox.suspended else self.marked[: -(-room // SIZE)]
        news = [f"{counter.name}{counter.newest:09}".encode() for counter in due]
        assert taken(self.outbox, budget) == [*self.answers, *news]
        self.answers = []
        self.marked = self.marked[len(due) :]

    @invariant()
    def is_idle_when_a_take_would_bring_nothing(self) -> None:
        assert self.outbox.idle == (not self.answers and (not self.marked or self.outbox.suspended))


def test_like_a_model():
    """Answers arrive whole and in order, marks in theirs with the newest state, and budgets hold."""
    run_state_machine_as_test(OutboxMachine)
