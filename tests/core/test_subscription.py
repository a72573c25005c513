"""What a client is told next: the newest state it may see, however it got here."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entity_sync.core.loaded import Loaded, LoadedRow
from entity_sync.core.loadstate import Cause, LoadState
from entity_sync.core.outbox import Outbox
from entity_sync.core.receipts import Receipts
from entity_sync.core.subscription import ClassicSubscription, V2Subscription
from entity_sync.core.view import View
from entity_sync.model import EntityKey


def view() -> View:
    return View(EntityKey("items", "7"), (), 42)


def load(view: View, n: int, cause: Cause = Cause.NOTIFY) -> None:
    if view.state is LoadState.IDLE:
        view.trigger(cause, 0.0)
    view.start(view.begun + 1, 0.0)
    data = str(n).encode()
    view.succeed(Loaded((LoadedRow(data, data),)))


def events(subscription: V2Subscription) -> list[tuple[str, Any]]:
    messages = [msgspec.json.decode(frame.payload) for frame in subscription.take(0.0)]
    return [(one["event"], one["rows"][0]["data"] if "rows" in one else None) for one in messages]


def causes(subscription: V2Subscription) -> list[str]:
    messages = [msgspec.json.decode(frame.payload) for frame in subscription.take(0.0)]
    return [token for one in messages for token in one.get("causes", ())]


def asked(view: View, version: str | None = None) -> V2Subscription:
    subscription = V2Subscription(view, Outbox("v2", 100))
    subscription.ask(version)
    return subscription


def test_newest_state_wins():
    """However many results were missed, one snapshot brings the newest; then nothing."""
    one = view()
    subscription = asked(one)
    assert events(subscription) == []
    for n in range(5):
        load(one, n)
    assert events(subscription) == [("snapshot", 4)]
    assert events(subscription) == []


def test_held_version_needs_no_body():
    """Who holds the version gets a current; who held it before a detour does too."""
    one = view()
    load(one, 1)
    subscription = asked(one, one.version)
    assert events(subscription) == [("current", None)]
    load(one, 2)
    load(one, 1)
    assert events(subscription) == [("current", None)]
    subscription.ask_again()
    assert events(subscription) == [("current", None)]


def test_nothing_from_before_the_question():
    """A state from a load at or before `after` is not sent; the next one is, even if it is equal."""
    one = view()
    load(one, 1)
    subscription = asked(one, "another")
    subscription.after = one.ticket
    assert events(subscription) == []
    load(one, 1)
    assert events(subscription) == [("snapshot", 1)]


def test_fresh_comes_after_the_state_it_waits_for():
    """A failure is told once; its end only with the state that the client waits for."""
    one = view()
    load(one, 1)
    subscription = asked(one, "another")
    subscription.after = one.ticket + 1
    one.fail("load", "text")
    assert events(subscription) == [("stale", None)]
    assert events(subscription) == []
    load(one, 2)
    assert events(subscription) == []
    load(one, 2)
    assert events(subscription) == [("snapshot", 2), ("fresh", None)]
    assert events(subscription) == []


def test_another_kind_of_failure_is_told():
    """A client is told how the view fails now, each kind once in a row, and of its end once."""
    one = view()
    subscription = asked(one)
    told = []
    for code in ("load", "load", "too_large", "too_large", "load", "busy"):
        one.fail(code, "text")
        told += [event for event, _ in events(subscription)]
    assert told == ["stale", "error", "stale", "error"]
    load(one, 1)
    assert events(subscription) == [("snapshot", 1), ("fresh", None)]
    one.fail("busy", "text")
    assert events(subscription) == [("error", None)]


def test_asking_while_it_fails_tells_it_again():
    """Who asks may have discarded the stale, so it is told again; one fresh ends it."""
    one = view()
    load(one, 1)
    subscription = asked(one)
    one.fail("load", "text")
    assert events(subscription) == [("snapshot", 1), ("stale", None)]
    subscription.ask_again()
    assert events(subscription) == [("current", None), ("stale", None)]
    load(one, 1)
    assert events(subscription) == [("fresh", None)]
    assert events(subscription) == []


@pytest.mark.parametrize("again", [True, False], ids=["a new secret", "a resync"])
def test_asking_does_not_lose_the_fresh(again: bool):
    """A failure that ends between a question and its answer is ended for the client too."""
    one = view()
    load(one, 1)
    subscription = asked(one)
    one.fail("load", "text")
    assert events(subscription) == [("snapshot", 1), ("stale", None)]
    if again:
        subscription.ask_again()
    else:
        subscription.ask(None)
    load(one, 1)
    state = "current" if again else "snapshot"
    assert [event for event, _ in events(subscription)] == [state, "fresh"]


def test_a_fresh_that_may_have_been_discarded_is_told_again():
    """A client discards what comes before its secret's ack, and with it the view that the fresh names."""
    one = view()
    subscription = asked(one)
    one.fail("load", "text")
    assert events(subscription) == [("stale", None)]
    load(one, 1)
    assert events(subscription) == [("snapshot", 1), ("fresh", None)]
    subscription.ask_again()
    assert events(subscription) == [("current", None), ("fresh", None)]
    assert events(subscription) == []


def test_causes_that_may_have_been_discarded_are_told_again():
    """So are the tokens that the state covers; who has discarded nothing is told each once."""
    one = view()
    one.receipts = Receipts()
    subscription = asked(one)
    subscription.ask_causes()
    one.receipts.add(["n.1"])
    load(one, 1)
    assert causes(subscription) == ["n.1"]
    subscription.ask(one.version)
    assert causes(subscription) == []
    one.receipts.add(["n.2"])
    load(one, 1)
    subscription.ask_again()
    assert causes(subscription) == ["n.1", "n.2"]
    assert causes(subscription) == []


def test_fresh_waits_for_rows_that_are_not_kept():
    """The load that ends a failure is no use to a client before its rows, which memory may have given up."""
    one = view()
    load(one, 1)
    subscription = asked(one)
    one.fail("load", "text")
    assert events(subscription) == [("snapshot", 1), ("stale", None)]
    load(one, 2)
    one.reduce()
    assert events(subscription) == []
    assert list(subscription.outbox.lacking) == [subscription]
    load(one, 2, Cause.SUBSCRIBE)
    assert events(subscription) == [("snapshot", 2), ("fresh", None)]
    assert not subscription.outbox.lacking


def test_rows_that_are_not_kept_are_not_waited_for_while_loads_fail():
    """What the whole connection is told last does not wait for a view whose client knows that it fails."""
    one = view()
    load(one, 1)
    subscription = asked(one)
    one.fail("load", "text")
    one.reduce()
    assert events(subscription) == [("stale", None)]
    assert not subscription.outbox.lacking


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ask", "wrong", "again", "load", "fail", "take"]), st.integers(0, 2)),
        max_size=40,
    )
)
def test_like_a_client(deeds: list[tuple[str, int]]):
    """In any order of questions, results and failures, a client that takes holds the newest state."""
    one = view()
    subscription = asked(one)
    held: int | None = None
    version: str | None = None
    for deed, n in deeds:
        if deed == "ask":
            subscription.ask(version)
        elif deed == "wrong":
            subscription.ask("wrong")
            subscription.after = one.ticket
        elif deed == "again":
            subscription.ask_again()
        elif deed == "load":
            load(one, n)
        elif deed == "fail":
            one.fail("load", "text")
        else:
            for event, data in events(subscription):
                held = data if event == "snapshot" else held
            eligible = one.loaded is not None and one.ticket > subscription.after
            if eligible:
                version = one.version
                assert one.loaded is not None
                assert str(held).encode() == one.loaded.rows[0].data
            assert (subscription._told is not None) == (
                one.failure is not None or (subscription._told is not None and subscription.owed)
            )


ANY_DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask with another", "ask again", "load", "fail", "take"]), st.integers(0, 2)
    ),
    max_size=60,
)


@settings(deadline=None)
@given(ANY_DEEDS)
def test_never_backwards(deeds: list[tuple[str, int]]):
    """After each take the client holds the newest load's state, or waits for a load after its question."""
    one = view()
    subscription = asked(one)
    data: dict[str, int] = {}  # version → what it is the version of
    held: tuple[int, int] | None = None  # the load whose state the client holds, and that state
    newest: tuple[int, int] | None = None
    for deed, n in deeds:
        if deed == "ask":
            subscription.ask(None)
            held = None
        elif deed == "ask with another":
            subscription.ask(f"from another node {n}")
            subscription.after = one.ticket
            held = None
        elif deed == "ask again":
            subscription.ask_again()
        elif deed == "load":
            load(one, n)
            newest = (one.ticket, n)
            data[str(one.version)] = n
        elif deed == "fail":
            one.fail("load", "text")
        else:
            for frame in subscription.take(0.0):
                message = msgspec.json.decode(frame.payload)
                if message["event"] in ("snapshot", "delta", "current"):
                    assert one.ticket > subscription.after
                    assert held is None or one.ticket >= held[0]
                    held = (one.ticket, data[message["version"]])
            if newest is not None and newest[0] > subscription.after:
                assert held is not None
                assert held[1] == newest[1]
            else:
                assert held is None


@settings(deadline=None)
@given(ANY_DEEDS)
@example([("fail", 0), ("take", 0), ("load", 0), ("take", 0), ("ask again", 0), ("take", 0)])
def test_stale_and_fresh(deeds: list[tuple[str, int]]):
    """Between two questions stale and fresh alternate; a client is stale exactly while the view fails or it
    still waits for the state that ends the failure; fresh comes behind that state."""
    one = view()
    subscription = asked(one)
    is_stale = was_stale = is_repeatable = False
    is_waiting = True
    for deed, n in deeds:
        if deed == "load":
            load(one, n)
        elif deed == "fail":
            one.fail("load", "text")
        elif deed == "take":
            for event, _ in events(subscription):
                if event == "stale":
                    assert not is_stale or is_repeatable
                    is_stale = was_stale = True
                    is_repeatable = False
                elif event == "fresh":
                    assert is_stale
                    assert not is_waiting
                    is_stale = False
                else:
                    is_waiting = False
            assert is_stale or one.failure is None
            assert not is_stale or one.failure is not None or is_waiting
        else:
            is_repeatable = is_waiting = True
            if deed == "ask":
                subscription.ask(None)
            elif deed == "ask again":
                subscription.ask_again()
                is_stale |= was_stale  # the fresh may have been discarded with all else
            else:
                subscription.ask(f"from another node {n}")
                subscription.after = one.ticket


def test_classic_gets_what_comes_after_it():
    """A classic client is pushed what is notified after its subscribe, and only that."""
    one = view()
    load(one, 1)
    subscription = ClassicSubscription(one, Outbox("classic", 100))
    assert subscription.take(0.0) == []
    load(one, 1)
    assert subscription.due
    assert [frame.payload for frame in subscription.take(0.0)] == [b"1"]
    assert subscription.take(0.0) == []
    assert not subscription.due


def test_classic_that_asks():
    """A classic client that is to have the first state gets it as soon as there is one."""
    one = view()
    subscription = ClassicSubscription(one, Outbox("classic", 100))
    subscription.ask()
    assert subscription.take(0.0) == []
    load(one, 1, Cause.SUBSCRIBE)
    assert [frame.payload for frame in subscription.take(0.0)] == [b"1"]


def test_classic_that_asks_for_what_is_there():
    """A classic client that is to have the first state gets the one that others were pushed already."""
    one = view()
    for n in range(1, 4):
        load(one, n)
        subscription = ClassicSubscription(one, Outbox("classic", 100))
        subscription.ask()
        assert [frame.payload for frame in subscription.take(0.0)] == [str(n).encode()]
        assert subscription.take(0.0) == []


def test_due_while_a_notify_loads():
    """A push is due from the notify on, not only from its result."""
    one = view()
    subscription = ClassicSubscription(one, Outbox("classic", 100))
    assert not subscription.due
    one.trigger(Cause.NOTIFY, 0.0)
    assert subscription.due
    one.start(1, 0.0)
    assert subscription.due
