"""The seam between a connection and its door."""

from __future__ import annotations

from typing import Protocol

from entity_sync.core.frame import Frame

__all__ = ["Transport"]


class Transport(Protocol):
    """What a door does with its socket."""

    def write(self, frames: list[Frame]) -> None:
        """Send complete text messages in order, calling `Connection.block` when it can take no more."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; harmless when it has begun."""
        ...

    def abort(self) -> None:
        """End the connection at once, without a close frame where the door can."""
        ...

    def pause_reading(self) -> None:
        """Feed no more messages for now."""
        ...

    def resume_reading(self) -> None:
        """Feed messages again."""
        ...
