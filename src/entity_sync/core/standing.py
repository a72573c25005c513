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
        is_told: it shows what it has as old.
        is_withheld: states are withheld from it, so it is not told otherwise meanwhile.
    """

    __slots__ = ("_standing", "is_told", "is_withheld")

    def __init__(self, standing: Standing, outbox: Outbox) -> None:
        super().__init__(outbox)
        self.is_told = self.is_withheld = False
        self._standing = standing

    def doubt(self, since: float, now: float) -> list[Frame]:
        """What to tell at once of a session whose states have been withheld for long; `take` has its end.

        Args:
            since: seconds of the clock at which that began.
        """
        if self.is_told:
            return []
        self.is_told = True
        stale = self._standing.stale or Trouble(Stale(reason="broker", age_ms=0), since)
        return [stale.frame(now)]

    def take(self, now: float) -> list[Frame]:
        """`Mark.take`."""
        stale, outbox = self._standing.stale, self.outbox
        is_last, outbox.last = outbox.last is self, None
        if (stale is not None) == self.is_told or (stale is None and self.is_withheld):
            return []
        if stale is None and not is_last:
            outbox.last = self  # fresh would be a lie before the states that make it true
            return []
        self.is_told = stale is not None
        return [_FRESH if stale is None else stale.frame(now)]
