"""What all doors of one listener share: where things are, who is inside, and how all are sent away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from entity_sync.hub.node import Node
from entity_sync.server.http import Page

__all__ = ["Entrance", "Guest"]

_log = logging.getLogger("entity_sync.server")


class Guest(Protocol):
    """One accepted TCP connection."""

    def drain(self) -> None:
        """End in order."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


class Entrance:
    """A listener's path and pages, and the connections that came in.

    Attributes:
        path: where the WebSocket is, exactly.
        pages: what else is there.
    """

    def __init__(self, node: Callable[[], Node], path: str, pages: Mapping[str, Page]) -> None:
        """
        Args:
            node: the running node, asked whenever a connection arrives.
        """
        self.path = path
        self.pages = pages
        self._node = node
        self._guests: dict[Guest, None] = {}
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._guests)

    @property
    def node(self) -> Node:
        """The running node.

        Raises:
            NotRunning: it is not started.
        """
        return self._node()

    def enter(self, guest: Guest) -> None:
        """A connection was accepted."""
        self._guests[guest] = None

    def leave(self, guest: Guest) -> None:
        """Its socket is closed."""
        self._guests.pop(guest, None)
        if not self._guests:
            self._empty.set()

    async def drain(self) -> None:
        """Send everybody away in order, for a bounded time; then cut off who is left."""
        application = self.node.application
        for guest in list(self._guests):
            guest.drain()
        timer = application.clock.call_later(application.settings.drain_timeout, self._cut_off)
        try:
            await self._emptied()
        except asyncio.CancelledError:
            self._cut_off()
            raise
        finally:
            timer.cancel()

    async def _emptied(self) -> None:
        while self._guests:
            self._empty.clear()
            await self._empty.wait()

    def _cut_off(self) -> None:
        if self._guests:
            _log.warning("%d connections did not close in time and are cut off", len(self._guests))
        for guest in list(self._guests):
            guest.abort()
