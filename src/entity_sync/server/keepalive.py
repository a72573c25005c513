"""Whether the peer is still there: WebSocket pings, and the time a pong may take."""

from __future__ import annotations

from typing import Protocol

from entity_sync.clock import Clock, Timer
from entity_sync.model import Wire
from entity_sync.settings import Settings

__all__ = ["Keepalive", "Pinged"]


class Pinged(Protocol):
    """A socket that can be pinged."""

    @property
    def is_blocked(self) -> bool:
        """Whether it takes no bytes now, so that a ping would wait behind others."""
        ...

    @property
    def is_reading(self) -> bool:
        """Whether what it sends is read now, so that a pong would be seen."""
        ...

    def ping(self) -> None:
        """Send an empty ping."""
        ...

    def abort(self) -> None:
        """End the connection without a close frame."""
        ...


class Keepalive:
    """Pings one connection, and drops it when pongs stay out.

    On classic the deadline runs from the last pong, as in the Go original. On v2 it runs from the
    first ping without a pong; a blocked connection is not judged, since the ping or its pong may
    be waiting behind data, and whoever stays blocked is closed as slow anyway. On neither wire is one
    judged while we do not read it: its pongs may be waiting for us, and it has the whole time again then.
    """

    __slots__ = (
        "_clock", "_due", "_interval", "_is_classic", "_next", "_patience", "_pinged", "_watch",
    )  # fmt: skip

    def __init__(self, pinged: Pinged, wire: Wire, clock: Clock, settings: Settings) -> None:
        self._pinged = pinged
        self._clock = clock
        self._is_classic = wire == "classic"
        self._interval = settings.classic_ping_interval if self._is_classic else settings.ping_interval
        self._patience = settings.classic_pong_deadline if self._is_classic else settings.ping_timeout
        self._due: float | None = None
        self._next: Timer | None = None
        self._watch: Timer | None = None

    def start(self) -> None:
        """The handshake is done."""
        self._next = self._clock.call_later(self._interval, self._ping)
        if self._is_classic:
            self._expect()

    def pong(self) -> None:
        """A pong arrived; other frames are no sign that pings come through."""
        # Moving the timer itself would let a flood of pongs churn timers: it looks again when it fires.
        self._due = self._clock.now() + self._patience if self._is_classic else None

    def resume(self) -> None:
        """It is read again after it was not for a while."""
        if self._due is not None:
            self._due = self._clock.now() + self._patience

    def stop(self) -> None:
        """The connection is over."""
        for timer in (self._next, self._watch):
            if timer is not None:
                timer.cancel()

    def _ping(self) -> None:
        self._next = self._clock.call_later(self._interval, self._ping)
        if self._is_classic:
            self._pinged.ping()
        elif not self._pinged.is_blocked:
            self._pinged.ping()
            if self._due is None:
                self._expect()

    def _expect(self) -> None:
        self._due = self._clock.now() + self._patience
        if self._watch is None:
            self._watch = self._clock.call_later(self._patience, self._check)

    def _check(self) -> None:
        self._watch = None
        if self._due is None:
            return
        now = self._clock.now()
        if now >= self._due:
            if self._pinged.is_reading and (self._is_classic or not self._pinged.is_blocked):
                self._pinged.abort()
                return
            self._due = now + self._patience
        self._watch = self._clock.call_later(self._due - now, self._check)
