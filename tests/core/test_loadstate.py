"""The load table."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entity_sync.core.loadstate import TRANSITIONS, LoadAction, LoadEvent, LoadState, step


@pytest.mark.parametrize(("pair", "outcome"), TRANSITIONS.items())
def test_listed(pair: tuple[LoadState, LoadEvent], outcome: tuple[LoadState, LoadAction]):
    """Every listed pair leads where the table says."""
    assert step(*pair) == outcome


@pytest.mark.parametrize("pair", [pair for pair in product(LoadState, LoadEvent) if pair not in TRANSITIONS])
def test_unlisted(pair: tuple[LoadState, LoadEvent]):
    """Every other pair is a mistake of the caller, named."""
    with pytest.raises(RuntimeError, match=re.escape(pair[0].value)):
        step(*pair)


@settings(deadline=None)
@given(st.lists(st.sampled_from(LoadEvent), max_size=40))
def test_every_trigger_is_followed_by_a_start(events: list[LoadEvent]):
    """Whatever happens, a trigger is covered by a start after it, and no two loads run at once."""
    state, owed, running = LoadState.IDLE, False, 0
    for event in events:
        if (state, event) not in TRANSITIONS:
            continue
        state, _ = step(state, event)
        if event is LoadEvent.TRIGGERED:
            owed = True
        elif event is LoadEvent.STARTED:
            owed, running = False, running + 1
        else:
            running -= 1
        assert 0 <= running <= 1
        assert owed <= (state in (LoadState.QUEUED, LoadState.DIRTY))
        assert (running == 1) == (state in (LoadState.LOADING, LoadState.DIRTY))


@settings(deadline=None)
@given(st.lists(st.sampled_from(LoadEvent), max_size=40))
def test_the_last_start_is_after_the_last_trigger(events: list[LoadEvent]):
    """From wherever events led, starting and ending whatever is asked for ends, with no trigger uncovered."""
    state, queue = LoadState.IDLE, 0
    last_trigger = last_start = -1
    for now, event in enumerate(events):
        if (state, event) not in TRANSITIONS:
            continue
        state, action = step(state, event)
        queue += action is LoadAction.ENQUEUE or event is LoadEvent.POSTPONED
        if event is LoadEvent.TRIGGERED:
            last_trigger = now
        elif event is LoadEvent.STARTED:
            queue, last_start = queue - 1, now
        assert queue == (state is LoadState.QUEUED)
    now = len(events)
    for _ in range(2):
        if state is LoadState.QUEUED:
            state, last_start = step(state, LoadEvent.STARTED)[0], now
        if state in (LoadState.LOADING, LoadState.DIRTY):
            state, _ = step(state, LoadEvent.ENDED)
    assert state is LoadState.IDLE
    assert last_start > last_trigger or last_trigger == -1
