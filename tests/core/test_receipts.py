"""Which notifies a view's state covers."""

from __future__ import annotations

from math import inf

import pytest

from entity_sync.core.receipts import Receipts


def test_only_a_load_that_began_later_covers():
    """A token that comes while a load runs waits for the next one."""
    receipts = Receipts()
    receipts.add(["a"])
    receipts.started()
    receipts.add(["b"])
    assert receipts.succeeded()
    assert receipts.since(0) == ("a",)
    receipts.started()
    assert receipts.succeeded()
    assert receipts.since(1) == ("b",)
    assert receipts.count == 2


def test_a_load_that_gave_nothing_covers_nothing():
    """Its tokens wait for the next one, before those that came meanwhile."""
    receipts = Receipts()
    receipts.add(["a"])
    receipts.started()
    receipts.add(["b", "a"])
    receipts.postponed()
    assert receipts.since(0) == ()
    receipts.started()
    receipts.succeeded()
    assert receipts.since(0) == ("a", "b")
    receipts.started()
    assert not receipts.succeeded()


def test_what_is_denied_covers_nothing():
    """Its tokens are told once there are rows to be seen."""
    receipts = Receipts()
    receipts.add(["a"])
    receipts.started()
    assert not receipts.succeeded(is_denied=True)
    assert receipts.since(0) == ()
    receipts.add(["b"])
    receipts.started()
    assert receipts.succeeded()
    assert receipts.since(0) == ("a", "b")


def test_what_was_denied_and_goes():
    """Its tokens would say how often what was forbidden changed: only that of its end is told."""
    receipts = Receipts()
    for token in map(str, range(100)):
        receipts.add([token])
        receipts.started()
        assert not receipts.succeeded(is_denied=True, is_gone=True)
    receipts.add(["end"])
    receipts.started()
    assert receipts.succeeded(is_gone=True)
    assert receipts.since(0) == ("end",)
    receipts.started()
    assert not receipts.succeeded()


def test_the_newest_of_what_was_denied():
    """They are bounded as others are."""
    receipts = Receipts()
    for token in map(str, range(100)):
        receipts.add([token])
        receipts.started()
        receipts.succeeded(is_denied=True)
    receipts.started()
    assert receipts.succeeded()
    assert receipts.since(0) == tuple(map(str, range(36, 100)))


def test_loads_that_give_nothing_keep_no_more():
    """However many notifies come while loads fail, the newest 64 wait."""
    receipts = Receipts()
    for token in map(str, range(200)):
        receipts.started()
        receipts.add([token])
        receipts.postponed()
    receipts.started()
    receipts.succeeded()
    assert receipts.count == 64


def test_bounded():
    """The newest 64 are kept, waiting or covered."""
    receipts = Receipts()
    receipts.add(map(str, range(100)))
    receipts.started()
    receipts.succeeded()
    assert receipts.since(0) == tuple(map(str, range(36, 100)))
    receipts.add(["x"])
    receipts.started()
    receipts.succeeded()
    assert receipts.since(0) == (*map(str, range(37, 100)), "x")
    assert receipts.since(64) == ("x",)


@pytest.mark.parametrize(
    ("is_loading", "is_loaded", "told"),
    [(False, False, [(), (), ("before", "after")]), (True, False, [(), ("before",), ("before", "after")]),
     (False, True, [("before",), ("before",), ("before", "after")])],
)  # fmt: skip
def test_recalled(is_loading: bool, is_loaded: bool, told: list[tuple[str, ...]]):
    """Tokens from before anybody asked: at once, after the load that runs, and after the next one."""
    receipts = Receipts()
    receipts.recall(
        {"before": -inf},
        {"after": -inf},
        began=0.0,
        is_loading=is_loading,
        is_loaded=is_loaded,
        is_denied=False,
    )
    seen = [receipts.since(0)]
    if is_loading:
        receipts.succeeded()
    seen.append(receipts.since(0))
    receipts.started()
    receipts.succeeded()
    assert [*seen, receipts.since(0)] == told


def test_learnt_as_a_load_ends():
    """What it began after it covers, once, behind what was known; the others wait for the next load."""
    receipts = Receipts()
    receipts.add(["own"])
    receipts.started()
    receipts.learn({"before": -inf}, {"after": -inf}, was_denied=False)
    assert receipts.succeeded()
    assert receipts.since(0) == ("before", "own")
    receipts.started()
    receipts.learn({"own": -inf, "before": -inf}, {}, was_denied=False)
    assert receipts.succeeded()
    assert receipts.since(2) == ("after",)
    assert receipts.count == 3


def test_learnt_by_a_load_that_gave_nothing():
    """It covers nothing of that either, and the next one all."""
    receipts = Receipts()
    receipts.started()
    receipts.learn({"before": -inf}, {"after": -inf}, was_denied=False)
    receipts.postponed()
    receipts.started()
    receipts.succeeded()
    assert receipts.since(0) == ("before", "after")


@pytest.mark.parametrize("was_denied", [False, True])
@pytest.mark.parametrize("is_gone", [False, True])
def test_learnt_of_what_is_denied(was_denied: bool, is_gone: bool):
    """As its own: told with rows, should they be seen later, and not with the word that they are gone."""
    receipts = Receipts()
    receipts.started()
    if not was_denied:
        receipts.learn({"before": -inf}, {}, was_denied=False)
    assert not receipts.succeeded(is_denied=True, is_gone=True)
    receipts.started()
    if was_denied:
        receipts.learn({"before": -inf}, {}, was_denied=True)
    assert receipts.succeeded(is_gone=is_gone) is not is_gone
    assert receipts.since(0) == (() if is_gone else ("before",))


def test_the_newest_of_what_is_learnt():
    """What was known already comes first where there are more than 64, and then the newest."""
    for was_denied in (False, True):
        receipts = Receipts()
        receipts.add(["own"])
        receipts.started()
        if was_denied:
            receipts.succeeded(is_denied=True)
        receipts.learn(dict.fromkeys(map(str, range(100)), -inf), {}, was_denied=was_denied)
        receipts.succeeded()
        assert receipts.count == 64
        assert receipts.since(0) == (*map(str, range(37, 100)), "own")


@pytest.mark.parametrize("is_gone", [False, True])
def test_recalled_of_what_is_denied(is_gone: bool):
    """They are of that time: told with rows, should they be seen later, and not when they are gone."""
    receipts = Receipts()
    receipts.recall(
        {"before": -inf}, {"after": -inf}, began=0.0, is_loading=False, is_loaded=True, is_denied=True
    )
    assert receipts.since(0) == ()
    receipts.started()
    receipts.succeeded(is_gone=is_gone)
    assert receipts.since(0) == (("after",) if is_gone else ("before", "after"))


def test_what_a_replica_may_lack():
    """It waits for a load that began so late that it cannot, before what comes meanwhile."""
    receipts = Receipts()
    receipts.add(["deleted"], 12.0)
    receipts.add(["revision"])
    receipts.started(10.0)
    assert receipts.succeeded()
    assert receipts.since(0) == ("revision",)
    receipts.add(["more"])
    receipts.started(11.9)
    receipts.postponed()
    receipts.started(12.0)
    assert receipts.succeeded(is_gone=True)
    assert receipts.since(1) == ("deleted", "more")
    receipts.started(13.0)
    assert not receipts.succeeded()


def test_what_a_replica_may_lack_still():
    """A token of several changes waits for the last of them; a result that covers nothing says so."""
    receipts = Receipts()
    for since in (12.0, 14.0, 13.0):
        receipts.add(["one"], since)
    receipts.started(13.9)
    assert not receipts.succeeded()
    receipts.started(14.0)
    assert receipts.succeeded()
    assert receipts.count == 1


def test_what_a_replica_may_lack_of_what_is_denied():
    """It waits for rows that must have it."""
    receipts = Receipts()
    receipts.add(["one"], 12.0)
    receipts.started(10.0)
    assert not receipts.succeeded(is_denied=True)
    receipts.started(11.0)
    assert not receipts.succeeded()
    receipts.started(12.0)
    assert receipts.succeeded()
    assert receipts.since(0) == ("one",)


def test_what_a_replica_may_lack_of_what_is_learnt_or_recalled():
    """As of what was told while somebody asked for it."""
    receipts = Receipts()
    receipts.started(10.0)
    receipts.learn({"new": 11.0, "old": 9.0}, {"after": 13.0}, was_denied=False)
    assert receipts.succeeded()
    assert receipts.since(0) == ("old",)
    receipts.started(12.0)
    receipts.succeeded()
    assert receipts.since(1) == ("new",)
    receipts = Receipts()
    receipts.recall(
        {"new": 11.0, "old": 9.0}, {}, began=10.0, is_loading=False, is_loaded=True, is_denied=False
    )
    assert receipts.since(0) == ("old",)
    receipts.started(11.0)
    receipts.succeeded()
    assert receipts.since(1) == ("new",)
