"""A broker that loses, doubles and reorders, with adapters that tell of it well, badly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from random import Random

from entity_sync.brokers.base import Delivery, Lost, Message, Restored
from entity_sync.errors import BrokerUnavailable


class Bus:
    """Joins the adapters of one world.

    Attributes:
        loss, doubling: the share of messages that are lost without a word, and delivered twice.
        well_since: the moment after which none is, as far as is known.
    """

    def __init__(self, random: Random) -> None:
        self.random = random
        self.members: list[FaultyBroker] = []
        self.loss = 0.0
        self.doubling = 0.0
        self.well_since = 0.0
        self._flying: dict[FaultyBroker, set[asyncio.TimerHandle]] = {}

    def carry(self, sender: FaultyBroker, topic: str, payloads: Sequence[bytes]) -> None:
        random, loop = self.random, asyncio.get_running_loop()
        flying = self._flying.setdefault(sender, set())
        for member in self.members:
            for payload in payloads:
                for _ in range(1 + (random.random() < self.doubling)):
                    if random.random() >= self.loss:
                        delay = random.uniform(0, 0.2)
                        message = Message(topic, payload)
                        flying.add(loop.call_later(delay, member.arrive, message))
        now = loop.time()
        flying.difference_update([timer for timer in flying if timer.when() <= now])

    async def lose(self, loss: float, doubling: float, seconds: float) -> None:
        """Lose and double this share for a while."""
        self.loss, self.doubling, self.well_since = loss, doubling, inf
        await asyncio.sleep(seconds)
        self.loss, self.doubling, self.well_since = 0.0, 0.0, asyncio.get_running_loop().time()

    def lose_flying(self, sender: FaultyBroker) -> None:
        """Half of what a member sent last never arrives."""
        for timer in sorted(self._flying.get(sender, ()), key=asyncio.TimerHandle.when):
            if self.random.random() < 0.5:
                timer.cancel()


class FaultyBroker:
    """One node's adapter: `cut`, `swallow` and `die` are the faults."""

    def __init__(self, bus: Bus, *, restores_early: bool = False) -> None:
        self._bus = bus
        self._restores_early = restores_early
        self._has_own_reconnect = restores_early or bus.random.random() < 0.5
        self._topics: frozenset[str] = frozenset()
        self._inbox: asyncio.Queue[Delivery | None] | None = None
        self._is_cut = self._is_dead = self._is_severed = False
        self._healed = asyncio.Event()
        self._healed.set()
        self._late: list[tuple[str, Sequence[bytes]]] = []
        self._faults = 0
        self._well_since = 0.0

    @property
    def well_since(self) -> float:
        """The moment after which nothing is lost on its way to this node or from it, as far as is known."""
        return inf if self._faults else max(self._well_since, self._bus.well_since)

    @contextmanager
    def _fault(self) -> Iterator[None]:
        self._faults += 1
        yield
        self._faults -= 1
        self._well_since = asyncio.get_running_loop().time()

    async def connect(self) -> None:
        await self._healed.wait()
        await asyncio.sleep(self._bus.random.uniform(0, 0.02))
        self._refuse_if_cut()
        self._topics = frozenset()
        self._inbox = asyncio.Queue()
        self._is_severed = False
        self._bus.members.append(self)

    async def subscribe(self, topics: Collection[str]) -> None:
        await asyncio.sleep(self._bus.random.uniform(0, 0.05))
        await self._healed.wait()
        self._refuse_if_cut()
        self._topics = self._topics.union(topics)

    async def unsubscribe(self, topics: Collection[str]) -> None:
        self._topics = self._topics.difference(topics)

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        await asyncio.sleep(self._bus.random.uniform(0, 0.02))
        self._refuse_if_cut()
        if self._is_severed:
            await asyncio.Event().wait()
        if not self._healed.is_set():
            if self._bus.random.random() < 0.5:
                self._late.append((topic, payloads))  # it lies in a socket's buffer
            await self._healed.wait()
            raise BrokerUnavailable("the simulated connection was reset")
        self._bus.carry(self, topic, payloads)

    async def receive(self) -> AsyncIterator[Delivery]:
        inbox = self._inbox
        assert inbox is not None
        while (delivery := await inbox.get()) is not None:
            yield delivery
        raise BrokerUnavailable("the simulated link is cut")

    async def close(self) -> None:
        if self in self._bus.members:
            self._bus.members.remove(self)
        self._inbox = None

    async def cut(self, seconds: float) -> None:
        """Carry nothing for this long; the adapter notices after a while."""
        with self._fault():
            await self._cut(seconds)

    async def _cut(self, seconds: float) -> None:
        random = self._bus.random
        self._is_cut = True
        await asyncio.sleep(random.uniform(0, min(0.5, seconds)))
        self._tell(Lost() if self._has_own_reconnect else None)
        if self._restores_early:
            await asyncio.sleep(max(0.0, seconds - random.uniform(0.0, 0.5)))
            self._tell(Restored())
            await asyncio.sleep(0.3)
            self._is_cut = False
            return
        await asyncio.sleep(seconds)
        self._is_cut = False
        await asyncio.sleep(random.uniform(0, 0.1))
        self._tell(Restored() if self._has_own_reconnect else None)

    async def swallow(self, seconds: float) -> None:
        """A black hole: everything is taken, nothing comes, and the adapter notices nothing; sometimes the
        connection that it swallowed never carries anything again."""
        self._healed.clear()
        self._is_severed = self._bus.random.random() < 0.5
        with self._fault():
            await asyncio.sleep(seconds)
        self._healed.set()
        late, self._late = self._late, []
        for topic, payloads in late:
            self._bus.carry(self, topic, payloads)

    def die(self) -> None:
        """The node is gone, with some of what it said last."""
        self._is_cut = self._is_dead = True
        self._bus.lose_flying(self)

    def arrive(self, message: Message) -> None:
        if self._inbox is None or message.topic not in self._topics or self._is_cut or self._is_severed:
            return
        if self._healed.is_set():
            self._inbox.put_nowait(message)

    def _tell(self, delivery: Delivery | None) -> None:
        if self._inbox is not None and not self._is_dead:
            self._inbox.put_nowait(delivery)

    def _refuse_if_cut(self) -> None:
        if self._is_cut:
            raise BrokerUnavailable("the simulated link is cut")
