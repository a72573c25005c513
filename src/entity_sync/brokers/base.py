"""What carries Changes between nodes, as the rest of the package sees it: bytes and topics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

__all__ = ["TRANSIENT", "Broker", "Delivery", "Lost", "Message", "Restored"]

TRANSIENT = ".transient"
"""The end of a topic's name that need not outlive its subscribers, where a broker can tell the difference."""


@dataclass(frozen=True, slots=True)
class Message:
    """One payload that arrived on a topic."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """From here on messages of these topics may be lost; ``None`` means all topics."""

    topics: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """These topics are confirmed again; what happened since ``Lost`` is not made up for."""

    topics: frozenset[str] | None = None


Delivery: TypeAlias = Message | Lost | Restored


@runtime_checkable
class Broker(Protocol):
    """An adapter to one kind of broker: no entities, JSON, retries or metrics in it.

    Order of calls: ``connect``, then the others in any order, then ``close``. After ``close``
    it may be connected again. Every subscribed topic reaches every connected node, the
    publishing one included.
    """

    async def connect(self) -> None:
        """Open the link. Raises BrokerUnavailable when the broker cannot be reached."""
        ...

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Return once the broker accepted all payloads; raises BrokerUnavailable otherwise."""
        ...

    async def subscribe(self, topics: Collection[str]) -> None:
        """Return once the broker confirmed; raises BrokerUnavailable otherwise."""
        ...

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Stop receiving these topics."""
        ...

    def receive(self) -> AsyncIterator[Delivery]:
        """Yield what arrives until ``close``; ``Restored`` only after the broker confirmed.

        An adapter without a reconnect of its own raises BrokerUnavailable when the link ends:
        the caller then takes it as ``Lost`` and connects again.
        """
        ...

    async def close(self) -> None:
        """Close the link; ``receive`` ends. Harmless when it is not open."""
        ...
