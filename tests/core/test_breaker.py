"""The breaker of an entity's loads."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entity_sync.core.breaker import TRANSITIONS, Breaker, BreakerAction, BreakerEvent, BreakerState, step


@pytest.mark.parametrize(("pair", "outcome"), TRANSITIONS.items())
def test_listed(pair: tuple[BreakerState, BreakerEvent], outcome: tuple[BreakerState, BreakerAction]):
    """Every listed pair leads where the table says."""
    assert step(*pair) == outcome


@pytest.mark.parametrize(
    "pair", [pair for pair in product(BreakerState, BreakerEvent) if pair not in TRANSITIONS]
)
def test_unlisted(pair: tuple[BreakerState, BreakerEvent]):
    """Every other pair is a mistake of the caller, named."""
    with pytest.raises(RuntimeError, match=re.escape(pair[0].value)):
        step(*pair)


def opened(patience: int = 2) -> Breaker:
    """One that the loads 1 to ``patience`` have opened."""
    breaker = Breaker(patience)
    actions = [breaker.failed(ticket, counts=True) for ticket in range(1, patience + 1)]
    assert actions == [*[BreakerAction.NOTHING] * (patience - 1), BreakerAction.PAUSE]
    return breaker


def probing() -> Breaker:
    """One whose pause is over, and whose probe is load 10."""
    breaker = opened()
    assert breaker.elapsed(is_wanted=True) is BreakerAction.RESUME
    assert breaker.admits
    breaker.started(10)
    return breaker


def test_opens_after_failures_in_a_row():
    """It opens when the last of so many failures in a row is told, and a success between starts over."""
    breaker = Breaker(2)
    breaker.failed(1, counts=True)
    breaker.answered(2)
    breaker.failed(3, counts=True)
    assert breaker.admits
    assert not breaker.holds
    assert breaker.failed(4, counts=True) is BreakerAction.PAUSE
    assert not breaker.admits
    assert breaker.holds


def test_keys_that_never_loaded_do_not_open_it():
    """However many loads of keys that never loaded fail, others go on."""
    breaker = Breaker(2)
    for ticket in range(1, 100):
        assert breaker.failed(ticket, counts=False) is BreakerAction.NOTHING
    assert breaker.admits


def test_what_began_before_a_success_says_nothing_new():
    """Failures of loads that began before one that has succeeded do not count."""
    breaker = Breaker(1)
    breaker.answered(7)
    assert breaker.failed(6, counts=True) is BreakerAction.NOTHING
    assert breaker.failed(7, counts=True) is BreakerAction.NOTHING  # another part of the same batch
    assert breaker.failed(8, counts=True) is BreakerAction.PAUSE


def test_one_probe_at_a_time():
    """After the pause one load may begin, and the next only after that one's success."""
    breaker = probing()
    assert not breaker.admits
    assert breaker.failed(3, counts=True) is BreakerAction.NOTHING  # it had begun before
    assert breaker.answered(10) is BreakerAction.RESUME
    assert breaker.admits
    assert not breaker.holds


def test_a_failed_probe_opens_it_again():
    """A probe that fails leads to another pause, and the pauses are counted until it closes."""
    breaker = probing()
    assert breaker.pauses == 1
    assert breaker.failed(10, counts=False) is BreakerAction.PAUSE
    assert (breaker.pauses, breaker.admits) == (2, False)
    assert breaker.answered(4) is BreakerAction.RESUME  # it had begun before, and took long
    assert (breaker.pauses, breaker.failures) == (0, 0)


def test_an_abandoned_probe_is_replaced():
    """Where nobody watches the probe's key any more, the next load is the probe."""
    breaker = probing()
    assert breaker.abandoned(9) is BreakerAction.NOTHING
    assert breaker.abandoned(10) is BreakerAction.RESUME
    breaker.started(11)
    assert not breaker.admits
    assert breaker.failed(10, counts=True) is BreakerAction.NOTHING


def test_closes_where_nobody_needs_it():
    """Where only keys that never loaded wait, it closes: their failures could keep it open for ever."""
    breaker = opened()
    assert breaker.elapsed(is_wanted=False) is BreakerAction.RESUME
    assert not breaker.holds
    assert breaker.failures == 0


_DEEDS = st.lists(st.sampled_from(["start", "answer", "fail", "vanish", "elapse", "forsake"]), max_size=60)


@given(_DEEDS, st.randoms(use_true_random=False))
def test_never_more_than_one_load_while_it_is_not_closed(deeds: list[str], random: object):
    """Whatever happens, of the loads that begin while it is not closed at most one runs, and when its pause
    ends one may begin."""
    breaker, running, begun_while_held, ticket = Breaker(2), [], set[int](), 0
    for deed in deeds:
        if deed == "start" and breaker.admits:
            ticket += 1
            running.append(ticket)
            begun_while_held = {ticket, *begun_while_held} if breaker.holds else set()
            breaker.started(ticket)
        elif deed in ("elapse", "forsake") and breaker.state is BreakerState.OPEN:
            breaker.elapsed(is_wanted=deed == "elapse")
            assert breaker.admits
        elif deed in ("answer", "fail", "vanish") and running:
            ended = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
            begun_while_held.discard(ended)
            if deed == "answer":
                breaker.answered(ended)
            elif deed == "fail":
                breaker.failed(ended, counts=True)
            else:
                breaker.abandoned(ended)
        if breaker.holds:
            assert len(begun_while_held & set(running)) <= 1
        else:
            begun_while_held.clear()
