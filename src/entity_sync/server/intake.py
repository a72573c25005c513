"""Received bytes on their way to the parser: in slices, so that no peer keeps the loop busy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Intake"]

_SLICE = 1_024  # bytes parsed at once: at most 170 masked frames
_FRAMES = 64  # frames after which everybody else gets a turn


class Intake:
    """Feeds one connection's bytes to its parser, as fast as both sides allow.

    A flood of tiny frames costs far more than its bytes, so a turn ends after so many frames.
    While bytes are left over, or the connection is busy, the socket is not read.

    Attributes:
        is_reading: whether the socket is read.
    """

    __slots__ = ("_at", "_feed", "_is_held", "_read", "_turn", "_waiting", "is_reading")

    def __init__(self, feed: Callable[[bytes], int], read: Callable[[bool], None]) -> None:
        """
        Args:
            feed: parses bytes, acts on them, and returns how many frames they held.
            read: starts or stops reading from the socket.
        """
        self._feed = feed
        self._read = read
        self._waiting = b""
        self._at = 0
        self._is_held = False
        self.is_reading = True
        self._turn: asyncio.Handle | None = None

    def take(self, data: bytes) -> None:
        """Bytes arrived."""
        self._waiting = self._waiting[self._at :] + data
        self._at = 0
        if self._turn is None:
            self._run()

    def hold(self) -> None:
        """Feed nothing until `release`."""
        self._is_held = True
        self._pace()

    def release(self) -> None:
        """Feed again."""
        self._is_held = False
        self._pace()

    def close(self) -> None:
        """Forget what waits."""
        self._waiting = b""
        self._at = 0
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _run(self) -> None:
        self._turn = None
        frames = 0
        while self._at < len(self._waiting) and frames < _FRAMES and not self._is_held:
            start, self._at = self._at, self._at + _SLICE
            frames += self._feed(self._waiting[start : self._at])
        if self._at >= len(self._waiting):
            self._waiting, self._at = b"", 0
        self._pace()

    def _pace(self) -> None:
        if self._waiting and not self._is_held and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._run)
        is_reading = not self._waiting and not self._is_held
        if is_reading != self.is_reading:
            self.is_reading = is_reading
            self._read(is_reading)
