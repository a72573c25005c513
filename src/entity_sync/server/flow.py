"""How fast a client takes what it is sent, and how fast it may send."""

from __future__ import annotations

from collections.abc import Callable

from entity_sync.clock import Clock, Timer
from entity_sync.core.outbox import Outbox
from entity_sync.server.transport import Transport

__all__ = ["Flow"]

_HELD = 32  # messages that may wait for the application before reading pauses


class Flow:
    """Lets a socket that is full be written to no more, and one whose messages wait be read no more."""

    __slots__ = ("_clock", "_is_paused", "_outbox", "_patience", "_timer", "_too_slow", "_transport")

    def __init__(
        self,
        transport: Transport,
        outbox: Outbox,
        clock: Clock,
        patience: float,
        too_slow: Callable[[], None],
    ) -> None:
        """
        Args:
            patience: seconds that the socket may be full.
            too_slow: called where it is for longer.
        """
        self._transport = transport
        self._outbox = outbox
        self._clock = clock
        self._patience = patience
        self._too_slow = too_slow
        self._timer: Timer | None = None
        self._is_paused = False

    def block(self) -> None:
        """The socket takes no more for now."""
        self._outbox.blocked = True
        if self._timer is None:
            self._timer = self._clock.call_later(self._patience, self._too_slow)

    def unblock(self) -> None:
        """The socket takes bytes again."""
        self._outbox.blocked = False
        self.close()

    def close(self) -> None:
        """The socket is no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pace(self, waiting: int) -> None:
        """So many of the client's messages wait for the application."""
        is_full = waiting >= _HELD
        if is_full and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        elif self._is_paused and not is_full:
            self._is_paused = False
            self._transport.resume_reading()
