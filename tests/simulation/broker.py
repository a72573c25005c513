"""A broker that loses, delays and reorders, and adapters that tell of it as a good one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from random import Random

from entity_sync.brokers.base import Delivery, Lost, Message, Restored
from entity_sync.errors import BrokerUnavailable


class Bus:
    """Joins the adapters of one world."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.members: list[FaultyBroker] = []


class FaultyBroker:
    """One node's adapter: `cut` and `mend` are the faults, noticed after a while."""

    def __init__(self, bus: Bus, *, restores_early: bool = False) -> None:
        self._bus = bus
        self._restores_early = restores_early
        self._topics: frozenset[str] = frozenset()
        self._inbox: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._is_carrying = False
        self._is_known_down = False

    async def connect(self) -> None:
        self._bus.members.append(self)
        self._is_carrying = True

    async def subscribe(self, topics: Collection[str]) -> None:
        await asyncio.sleep(self._bus.random.uniform(0, 0.05))
        self._topics = self._topics.union(topics)

    async def unsubscribe(self, topics: Collection[str]) -> None:
        self._topics = self._topics.difference(topics)

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        await asyncio.sleep(self._bus.random.uniform(0, 0.02))
        if not self._is_carrying:
            raise BrokerUnavailable("the simulated link is cut")
        loop = asyncio.get_running_loop()
        for member in self._bus.members:
            for payload in payloads:
                loop.call_later(self._bus.random.uniform(0, 0.2), member._arrive, Message(topic, payload))

    async def receive(self) -> AsyncIterator[Delivery]:
        while (delivery := await self._inbox.get()) is not None:
            yield delivery

    async def close(self) -> None:
        if self in self._bus.members:
            self._bus.members.remove(self)
        self._inbox.put_nowait(None)

    async def cut(self, seconds: float) -> None:
        """Carry nothing for this long; Lost and Restored follow as the adapter notices."""
        random = self._bus.random
        self._is_carrying = False
        await asyncio.sleep(random.uniform(0, min(0.5, seconds)))
        self._inbox.put_nowait(Lost())
        if self._restores_early:
            await asyncio.sleep(max(0.0, seconds - random.uniform(0.0, 0.5)))
            self._inbox.put_nowait(Restored())
            await asyncio.sleep(0.3)
            self._is_carrying = True
            return
        await asyncio.sleep(seconds)
        self._is_carrying = True
        await asyncio.sleep(random.uniform(0, 0.1))
        self._inbox.put_nowait(Restored())

    def _arrive(self, message: Message) -> None:
        if self._is_carrying and message.topic in self._topics:
            self._inbox.put_nowait(message)
