"""When a view loads: never twice at once, and once more after a change during a load."""

from __future__ import annotations

from enum import Enum, Flag, auto

__all__ = ["TRANSITIONS", "Cause", "LoadAction", "LoadEvent", "LoadState", "step"]


class LoadState(Enum):
    """What a view's loading is doing."""

    IDLE = "idle"
    QUEUED = "queued"
    LOADING = "loading"
    DIRTY = "loading+dirty"


class LoadEvent(Enum):
    """What can happen to it."""

    TRIGGERED = "triggered"
    STARTED = "started"
    POSTPONED = "postponed"
    ENDED = "ended"


class LoadAction(Enum):
    """What whoever runs the loads must do about it."""

    NOTHING = "nothing"
    ENQUEUE = "enqueue"


class Cause(Flag):
    """Why a view loads."""

    NOTIFY = auto()
    SUBSCRIBE = auto()
    RESYNC = auto()
    DEPENDENCY = auto()
    REREAD = auto()  # nobody says that it changed: it is looked whether it did


_S, _E, _A = LoadState, LoadEvent, LoadAction

TRANSITIONS: dict[tuple[LoadState, LoadEvent], tuple[LoadState, LoadAction]] = {
    (_S.IDLE, _E.TRIGGERED): (_S.QUEUED, _A.ENQUEUE),
    (_S.QUEUED, _E.TRIGGERED): (_S.QUEUED, _A.NOTHING),  # it will start after this trigger: enough
    (_S.LOADING, _E.TRIGGERED): (_S.DIRTY, _A.NOTHING),  # it began before this trigger: not enough
    (_S.DIRTY, _E.TRIGGERED): (_S.DIRTY, _A.NOTHING),
    (_S.QUEUED, _E.STARTED): (_S.LOADING, _A.NOTHING),
    (_S.LOADING, _E.POSTPONED): (_S.QUEUED, _A.NOTHING),  # the next attempt is a later read,
    (_S.DIRTY, _E.POSTPONED): (_S.QUEUED, _A.NOTHING),  # so it covers what made this one dirty
    (_S.LOADING, _E.ENDED): (_S.IDLE, _A.NOTHING),
    (_S.DIRTY, _E.ENDED): (_S.QUEUED, _A.ENQUEUE),
}
"""state × event → next state and action; what is not listed cannot happen."""


def step(state: LoadState, event: LoadEvent) -> tuple[LoadState, LoadAction]:
    """The next state and what to do.

    Raises:
        RuntimeError: the event cannot happen in this state, a mistake in the caller.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise RuntimeError(f"a view that is {state.value} cannot be {event.value}") from None
