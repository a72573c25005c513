"""Whether an entity's loads may begin: while they keep failing, only one from time to time, to find out."""

from __future__ import annotations

from enum import Enum

__all__ = ["TRANSITIONS", "Breaker", "BreakerAction", "BreakerEvent", "BreakerState", "step"]


class BreakerState(Enum):
    """What an entity's loads may do."""

    CLOSED = "closed"  # begin
    OPEN = "open"  # wait
    HALF_OPEN = "half-open"  # the next one may begin, and is the probe
    PROBING = "probing"  # wait for what becomes of the probe


class BreakerEvent(Enum):
    """What can happen to it."""

    EXHAUSTED = "exhausted"
    ELAPSED = "elapsed"
    UNWANTED = "unwanted"
    STARTED = "started"
    ANSWERED = "answered"
    FAILED = "failed"
    ABANDONED = "abandoned"


class BreakerAction(Enum):
    """What whoever runs the loads must do about it."""

    NOTHING = "nothing"
    PAUSE = "pause"
    RESUME = "resume"


_S, _E, _A = BreakerState, BreakerEvent, BreakerAction

TRANSITIONS: dict[tuple[BreakerState, BreakerEvent], tuple[BreakerState, BreakerAction]] = {
    (_S.CLOSED, _E.ANSWERED): (_S.CLOSED, _A.NOTHING),
    (_S.CLOSED, _E.EXHAUSTED): (_S.OPEN, _A.PAUSE),
    (_S.OPEN, _E.ELAPSED): (_S.HALF_OPEN, _A.RESUME),
    (_S.OPEN, _E.UNWANTED): (_S.CLOSED, _A.RESUME),  # those whose failures counted are watched no longer
    (_S.OPEN, _E.ANSWERED): (_S.CLOSED, _A.RESUME),  # a load that had begun before
    (_S.HALF_OPEN, _E.ANSWERED): (_S.CLOSED, _A.RESUME),
    (_S.HALF_OPEN, _E.STARTED): (_S.PROBING, _A.NOTHING),
    (_S.PROBING, _E.ANSWERED): (_S.CLOSED, _A.RESUME),
    (_S.PROBING, _E.FAILED): (_S.OPEN, _A.PAUSE),
    (_S.PROBING, _E.ABANDONED): (_S.HALF_OPEN, _A.RESUME),  # nobody watches that key any more
}
"""state × event → next state and action; what is not listed cannot happen."""


def step(state: BreakerState, event: BreakerEvent) -> tuple[BreakerState, BreakerAction]:
    """The next state and what to do.

    Raises:
        RuntimeError: the event cannot happen in this state, a mistake in the caller.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise RuntimeError(f"a breaker that is {state.value} cannot be {event.value}") from None


class Breaker:
    """The breaker of one entity. Loads are named by their tickets: a later load has a larger one.

    Attributes:
        state: where it stands.
        failures: counted since a load was answered last.
        pauses: pauses since it was closed.
    """

    __slots__ = ("_answered", "_patience", "_probe", "failures", "pauses", "state")

    def __init__(self, patience: int) -> None:
        """
        Args:
            patience: failures in a row that open it.
        """
        self.state = BreakerState.CLOSED
        self.failures = 0
        self.pauses = 0
        self._patience = patience
        self._answered = 0
        self._probe = 0

    @property
    def admits(self) -> bool:
        """Whether a load may begin now."""
        return self.state in (BreakerState.CLOSED, BreakerState.HALF_OPEN)

    @property
    def holds(self) -> bool:
        """Whether what is to be loaded waits for it."""
        return self.state is not BreakerState.CLOSED

    def started(self, ticket: int) -> None:
        """A load that it admitted begins."""
        if self.state is BreakerState.HALF_OPEN:
            self._probe = ticket
            self._step(BreakerEvent.STARTED)

    def answered(self, ticket: int) -> BreakerAction:
        """The application's function returned."""
        self._answered = max(self._answered, ticket)
        return self._step(BreakerEvent.ANSWERED)

    def failed(self, ticket: int, *, counts: bool) -> BreakerAction:
        """It raised, or took too long.

        Args:
            counts: the load was for a key that had been loaded before. Others never open a breaker: a client
                may ask for any of them.
        """
        if self.state is BreakerState.CLOSED:
            if counts and ticket > self._answered:  # what began before that says nothing new
                self.failures += 1
            return self._pause(BreakerEvent.EXHAUSTED) if self.failures >= self._patience else _A.NOTHING
        is_probe = self.state is BreakerState.PROBING and ticket == self._probe
        return self._pause(BreakerEvent.FAILED) if is_probe else _A.NOTHING

    def abandoned(self, ticket: int) -> BreakerAction:
        """The load ended without an outcome."""
        is_probe = self.state is BreakerState.PROBING and ticket == self._probe
        return self._step(BreakerEvent.ABANDONED) if is_probe else _A.NOTHING

    def elapsed(self, *, is_wanted: bool) -> BreakerAction:
        """The pause is over.

        Args:
            is_wanted: a key that had been loaded before waits.
        """
        return self._step(BreakerEvent.ELAPSED if is_wanted else BreakerEvent.UNWANTED)

    def _pause(self, event: BreakerEvent) -> BreakerAction:
        self.pauses += 1
        return self._step(event)

    def _step(self, event: BreakerEvent) -> BreakerAction:
        self.state, action = step(self.state, event)
        if self.state is BreakerState.CLOSED:
            self.failures = self.pauses = 0
        return action
