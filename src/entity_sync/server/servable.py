"""What is served, as far as a server or a door knows it."""

from __future__ import annotations

from typing import Protocol

from entity_sync.hub.node import Node

__all__ = ["Servable"]


class Servable(Protocol):
    """An `EntitySync`."""

    @property
    def node(self) -> Node:
        """The running node; raises NotRunning."""
        ...

    async def __aenter__(self) -> object:
        """Start."""
        ...

    async def __aexit__(self, *exception: object) -> object:
        """Drain and stop."""
        ...
