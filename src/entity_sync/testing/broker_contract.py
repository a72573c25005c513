"""What every broker adapter must do, as tests to inherit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from entity_sync.brokers.base import Broker, Message

__all__ = ["BrokerContract"]


class BrokerContract:
    """Inherit it as ``class TestMine(BrokerContract)`` and override `make`.

    It needs pytest-asyncio in auto mode.
    """

    async def make(self) -> Broker:
        """A new adapter to the same broker as every other of this test, not connected."""
        raise TypeError("override make")

    async def test_reaches_every_node(self) -> None:
        """What one node publishes reaches every subscribed node, itself included."""
        async with self._joined("items") as one, self._joined("items") as two:
            await one.publish("items", [b"1", b"2"])
            for broker in (one, two):
                assert await _receive(broker, 2) == [Message("items", b"1"), Message("items", b"2")]

    async def test_only_subscribed_topics(self) -> None:
        """A topic that was not subscribed, or not any more, brings nothing."""
        async with self._joined("items") as broker:
            await broker.subscribe(["users"])
            await broker.unsubscribe(["items"])
            await broker.publish("items", [b"no"])
            await broker.publish("orders", [b"no"])
            await broker.publish("users", [b"yes"])
            assert await _receive(broker, 1) == [Message("users", b"yes")]

    async def test_carries_bytes_unchanged(self) -> None:
        """Payloads up to 4 KiB arrive as they were sent, in the order of one publish."""
        payloads = [bytes(range(256)), b"", "ü€😀".encode(), b"x" * 4_096]
        async with self._joined("bytes") as broker:
            await broker.publish("bytes", payloads)
            assert [message.payload for message in await _receive(broker, len(payloads))] == payloads

    async def test_names_at_their_limits(self) -> None:
        """Topics of one and of 64 characters, with every allowed kind of character, work."""
        names = ["a", "A-b_c.9", "x" * 64]
        async with self._joined(*names) as broker:
            for name in names:
                await broker.publish(name, [name.encode()])
                assert await _receive(broker, 1) == [Message(name, name.encode())]

    async def test_large_burst(self) -> None:
        """10,000 payloads published at once all arrive."""
        payloads = [b"%d" % number for number in range(10_000)]
        async with self._joined("burst") as broker:
            await broker.publish("burst", payloads)
            assert sorted(message.payload for message in await _receive(broker, 10_000)) == sorted(payloads)

    async def test_close_while_receiving(self) -> None:
        """`close` ends a `receive` that waits, and may be called twice."""
        async with self._joined("items") as broker:
            ended = asyncio.create_task(_drain(broker))
            await asyncio.sleep(0)
            await broker.close()
            await ended
            await broker.close()

    async def test_reconnects_after_close(self) -> None:
        """A closed adapter can be connected again."""
        async with self._joined("items") as broker:
            await broker.close()
            await broker.connect()
            await broker.subscribe(["items"])
            await broker.publish("items", [b"again"])
            assert await _receive(broker, 1) == [Message("items", b"again")]

    @asynccontextmanager
    async def _joined(self, *topics: str) -> AsyncGenerator[Broker, None]:
        broker = await self.make()
        await broker.connect()
        try:
            await broker.subscribe(topics)
            yield broker
        finally:
            await broker.close()


async def _receive(broker: Broker, count: int) -> list[Message]:
    messages: list[Message] = []
    async for delivery in broker.receive():
        if isinstance(delivery, Message):
            messages.append(delivery)
        if len(messages) == count:
            break
    return messages


async def _drain(broker: Broker) -> None:
    async for _ in broker.receive():
        pass
