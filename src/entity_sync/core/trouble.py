"""Why what is shown may be old or is not shown, as v2 sessions are told of it."""

from __future__ import annotations

import msgspec
from msgspec import UnsetType

from entity_sync.core import v2
from entity_sync.core.frame import Frame
from entity_sync.core.messages import Error, Stale
from entity_sync.model import EntityKey

__all__ = ["Trouble"]


class Trouble:
    """A message that stays true for a while: what it says of an age is of the moment it is told.

    Attributes:
        since: seconds of the clock.
    """

    __slots__ = ("_frame", "_message", "_now", "since")

    def __init__(self, message: Stale | Error, since: float) -> None:
        """
        Args:
            message: the age in it does not matter.
        """
        self.since = since
        self._message = message
        self._now = since
        self._frame: Frame | None = None

    @classmethod
    def of_load(cls, key: EntityKey, number: int | UnsetType, code: str, text: str, since: float) -> Trouble:
        """``stale`` where a load may yet succeed, ``error`` where it is too large or has no room.

        Args:
            number: of the view, where it has had a state.
        """
        entity, id = key
        message: Stale | Error = Stale(reason="load", age_ms=0, entity=entity, id=id, view=number)
        if code in ("too_large", "busy"):
            message = Error(code=code, text=text, retryable=code == "busy", entity=entity, id=id)
        return cls(message, since)

    @property
    def kind(self) -> str:
        """What tells it from another trouble: ``stale``, or the code of its error."""
        return "stale" if isinstance(self._message, Stale) else self._message.code

    def frame(self, now: float) -> Frame:
        """What is told at this moment of the clock, shared by all who are told then."""
        if self._frame is None or self._now != now:
            message = self._message
            if isinstance(message, Stale):
                message = msgspec.structs.replace(message, age_ms=round((now - self.since) * 1_000))
            self._frame, self._now = v2.frame(message), now
        return self._frame
