"""One node's link to Redis.

Delivery: by PUBLISH, at most once; everything published while a node is away is lost to it, which
`receive` says by raising. With ``?mode=stream`` by streams, see `streams`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Literal

from entity_sync.brokers.base import Delivery
from entity_sync.brokers.inbox import Inbox
from entity_sync.brokers.redis.line import Line
from entity_sync.brokers.redis.settings import address_of, opener_like, opener_of
from entity_sync.brokers.redis.streams import Streams
from entity_sync.errors import BrokerUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisBroker"]

_PULSE = 2.0  # seconds between two questions whether the server is still there
_BATCH = 1_000  # payloads sent before their acceptance is awaited


class RedisBroker:
    """One node's two connections to a Redis server: one to hear by, one to speak by."""

    def __init__(self, source: str | Redis, *, mode: Literal["pubsub", "stream"] = "pubsub") -> None:
        """
        Args:
            source: a URL, or a client, of which only the settings are used: its own connections may be
                busy, and reconnect without telling. It is never closed.
            mode: how changes travel; a URL says it by ``?mode=``.

        Raises:
            ConfigurationError: a mistake in the URL.
        """
        if isinstance(source, str):
            address = address_of(source)
            self._open = opener_of(address)
            mode = "stream" if address.options.get("mode") == "stream" else mode
        else:
            self._open = opener_like(source)
        self._mode = mode
        self._topics: set[str] = set()
        self._inbox: Inbox | None = None
        self._hearing: Line | None = None
        self._streams: Streams | None = None
        self._speaking: Line | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changing = asyncio.Lock()
        self._reopening = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Open the link.

        Raises:
            BrokerUnavailable: no server answers, or it refuses us.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # a lock belongs to the loop in which two met
            self._loop, self._changing, self._reopening = loop, asyncio.Lock(), asyncio.Lock()
        self._inbox = Inbox()
        try:
            self._speaking = await Line.open(self._open)
            self._hearing = await Line.open(self._open, self._take)
        except BaseException:
            await self.close()
            raise
        if self._mode == "stream":
            self._streams = Streams(self._open, self._spoken, self._inbox)
        self._running = asyncio.create_task(self._run(self._hearing))

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Return once the server has everything; raises BrokerUnavailable otherwise."""
        line = await self._spoken()
        for start in range(0, len(payloads), _BATCH):
            batch = payloads[start : start + _BATCH]
            if self._streams is None:
                await line.ask([("PUBLISH", topic, payload) for payload in batch])
            else:
                await line.ask(self._streams.add(topic, batch))

    async def subscribe(self, topics: Collection[str]) -> None:
        """Return once the server confirmed; raises BrokerUnavailable otherwise."""
        async with self._changing:
            line, new = self._heard(), set(topics).difference(self._topics)
            self._topics |= new
            try:
                if self._streams is not None:
                    await self._streams.follow(new)
                elif new:
                    await line.ask([("SUBSCRIBE", *new)], replies=len(new))
            except BaseException:
                self._topics -= new
                raise

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Receive these topics no longer."""
        async with self._changing:
            line, gone = self._heard(), self._topics.intersection(topics)
            self._topics -= gone
            if self._streams is not None:
                self._streams.leave(gone)
            elif gone:
                await line.ask([("UNSUBSCRIBE", *gone)], replies=len(gone))

    async def receive(self) -> AsyncIterator[Delivery]:
        """Yield what arrives until closed.

        Raises:
            BrokerUnavailable: the link ended.
        """
        inbox = self._inbox
        if inbox is None:
            raise BrokerUnavailable("the link to Redis is closed")
        async for delivery in inbox.deliveries():
            yield delivery

    async def close(self) -> None:
        """Close the link."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()
        self._topics.clear()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        lines = self._hearing, self._speaking
        self._running = self._hearing = self._speaking = self._streams = None
        for line in lines:
            if line is not None:
                await line.close()

    def _heard(self) -> Line:
        if self._hearing is None:
            raise BrokerUnavailable("the link to Redis is closed")
        return self._hearing

    async def _spoken(self) -> Line:
        """The line to speak by; a server may have closed one that was silent for long."""
        async with self._reopening:
            if self._speaking is None or self._running is None:
                raise BrokerUnavailable("the link to Redis is closed")
            if self._running.done():
                raise BrokerUnavailable("the link to Redis ended")
            if self._speaking.ended.done():
                running = self._running
                await self._speaking.close()
                line = await Line.open(self._open)
                if self._running is not running:
                    await line.close()
                    raise BrokerUnavailable("the link to Redis was closed meanwhile")
                self._speaking = line
            return self._speaking

    async def _run(self, line: Line) -> None:
        error = BrokerUnavailable("the link to Redis ended")
        try:
            await (_watch(line) if self._streams is None else self._streams.run(line))
        except BrokerUnavailable as reason:
            error = reason
        finally:
            if self._inbox is not None:
                self._inbox.fail(error)

    def _take(self, topic: str, payload: bytes) -> None:
        if self._inbox is not None and topic in self._topics:
            self._inbox.put(topic, [payload])


async def _watch(line: Line) -> None:
    """Find out that the server is gone, which a silent connection does not tell."""
    while True:
        await line.ask([("PING",)])
        await asyncio.wait([line.ended], timeout=_PULSE)
