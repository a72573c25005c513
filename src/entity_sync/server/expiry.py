"""The end of a principal whose time is limited: a warning, the end, a grace."""

from __future__ import annotations

from collections.abc import Callable

from entity_sync.clock import Clock, Timer
from entity_sync.hub.admission import expires_at
from entity_sync.settings import Settings

__all__ = ["Expiry"]

_SHORTEST = 1.0  # seconds before the end in which nobody is warned any more
_LONGEST = 3_600.0  # seconds; a clock that was set is noticed within an hour


class Expiry:
    """Watches the clock for one connection's principal."""

    __slots__ = ("_clock", "_end", "_settings", "_timer", "_warn")

    def __init__(
        self, clock: Clock, settings: Settings, warn: Callable[[float], None], end: Callable[[], None]
    ) -> None:
        """
        Args:
            warn: called ``expiry_warning`` before the principal's time is over, but not before half of it is,
                nor in its last second; with the seconds left.
            end: called ``expiry_grace`` after it is over.
        """
        self._clock = clock
        self._settings = settings
        self._warn = warn
        self._end = end
        self._timer: Timer | None = None

    def begin(self, principal: object) -> None:
        """From now on it is this principal's."""
        self.cancel()
        at = expires_at(principal)
        if at is None:
            return
        # Half of a short life at least: a client answers with its secret, of which perhaps no more is left.
        early = min(self._settings.expiry_warning, (at - self._clock.wall()) / 2)
        if early >= _SHORTEST:
            self._wait(at - early, lambda: self._warned(at))
        else:
            self._wait(at + self._settings.expiry_grace, self._end)

    def cancel(self) -> None:
        """It is nobody's."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _warned(self, at: float) -> None:
        self._warn(max(0.0, at - self._clock.wall()))
        self._wait(at + self._settings.expiry_grace, self._end)

    def _wait(self, until: float, then: Callable[[], None]) -> None:
        # The wall clock may be set while we wait: an end that was waited for is looked at again.
        left = until - self._clock.wall()
        if left > 0:
            self._timer = self._clock.call_later(min(left, _LONGEST), lambda: self._wait(until, then))
        else:
            self._timer = None
            then()
