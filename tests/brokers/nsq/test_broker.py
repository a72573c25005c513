"""The NSQ adapter against a real nsqd: the contract of every adapter, and what is NSQ's own."""

from __future__ import annotations

import asyncio

import pytest

from entity_sync.brokers.base import Broker, Message
from entity_sync.brokers.nsq import NsqBroker
from entity_sync.errors import BrokerError
from entity_sync.testing import BrokerContract
from tests.support.servers import running

pytestmark = pytest.mark.needs("nsqd")


class TestNsq(BrokerContract):
    """`nsq://` by the public contract."""

    @pytest.fixture(autouse=True)
    async def _server(self, tmp_path):
        async with running("nsq", tmp_path) as self.server:
            yield

    async def make(self) -> Broker:
        """A node of the same nsqd."""
        return NsqBroker(self.server.url)

    async def test_carries_bytes_unchanged(self) -> None:
        """As in the contract, but an empty payload is refused, as nsqd would, and harms nothing."""
        payloads = [bytes(range(256)), "ü€😀".encode(), b"x" * 4_096]
        async with self._joined("bytes") as broker:
            with pytest.raises(BrokerError, match="no empty messages"):
                await broker.publish("bytes", [b"1", b""])
            await broker.publish("bytes", payloads)
            assert [message.payload for message in await _receive(broker, len(payloads))] == payloads


async def _receive(broker: Broker, count: int) -> list[Message]:
    found = broker.receive()
    async with asyncio.timeout(10):
        deliveries = [await anext(found) for _ in range(count)]
    messages = [one for one in deliveries if isinstance(one, Message)]
    assert len(messages) == count, deliveries
    return messages
