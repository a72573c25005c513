"""Whether everything a node shows may be old, and which sessions have been told so."""

from __future__ import annotations

from entity_sync.core import v2
from entity_sync.core.frame import Frame
from entity_sync.core.messages import Fresh, Stale
from entity_sync.core.outbox import Mark, Outbox
from entity_sync.core.trouble import Trouble

__all__ = ["Standing", "StandingMark"]

_FRESH = v2.frame(Fresh())


class Standing:
    """How a node stands with its broker.

    Attributes:
        stale: what v2 sessions are to be told, None while all is well.
    """

    __slots__ = ("stale",)

    def __init__(self) -> None:
        self.stale: Trouble | None = None


class StandingMark(Mark):
    """What one v2 session was told of it: a state, so a slow client misses only what is over.

    Attributes:
        is_doubted: it was told so because states are withheld from it, and is not told otherwise meanwhile.
    """

    __slots__ = ("_standing", "_told", "is_doubted")

    def __init__(self, standing: Standing, outbox: Outbox) -> None:
        super().__init__(outbox)
        self.is_doubted = False
        self._standing = standing
        self._told = False

    def doubt(self, since: float, now: float) -> list[Frame]:
        """What to tell at once of a session whose states are withheld; `take` has its end.

        Args:
            since: seconds of the clock at which that began.
        """
        self.is_doubted = True
        if self._told:
            return []
        self._told = True
        stale = self._standing.stale or Trouble(Stale(reason="broker", age_ms=0), since)
        return [stale.frame(now)]

    def take(self, now: float) -> list[Frame]:
        """`Mark.take`."""
        stale, outbox = self._standing.stale, self.outbox
        is_last, outbox.last = outbox.last is self, None
        if self.is_doubted or (stale is not None) == self._told:
            return []
        if stale is None and not is_last:
            outbox.last = self  # fresh would be a lie before the states that make it true
            return []
        self._told = stale is not None
        return [_FRESH if stale is None else stale.frame(now)]
