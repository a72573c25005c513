"""Steps of the brokers' contract that end in time, whatever an adapter does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from entity_sync.brokers.base import Broker, Message

__all__ = ["PATIENCE", "REFUSED", "drain", "publish_in_pieces", "raises", "receive"]

PATIENCE = 45.0  # seconds for anything that has no bound of its own, and for a test
REFUSED = 7.0  # seconds within which a call to a broker that does not answer returns


async def publish_in_pieces(broker: Broker, topic: str, payloads: Sequence[bytes]) -> None:
    """Publish by many calls, so that others have their turn between."""
    for start in range(0, len(payloads), 250):
        await broker.publish(topic, payloads[start : start + 250])


async def receive(broker: Broker, count: int) -> list[Message]:
    """Return the next messages; gaps are passed over."""
    messages: list[Message] = []
    async with asyncio.timeout(PATIENCE):
        async for delivery in broker.receive():
            if isinstance(delivery, Message):
                messages.append(delivery)
            if len(messages) == count:
                break
    return messages


async def drain(broker: Broker) -> None:
    """Take what arrives until `close`."""
    async for _ in broker.receive():
        pass


async def raises(kind: type[Exception], call: Awaitable[object]) -> None:
    """As pytest.raises, within the time that a call to a broker that is away may take."""
    try:
        async with asyncio.timeout(REFUSED):
            await call
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")
