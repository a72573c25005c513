"""What arrived and was not taken yet: bounded, and ended by the loss of a connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from entity_sync.brokers.base import Delivery, Lost, Message, Restored
from entity_sync.errors import BrokerUnavailable

__all__ = ["Inbox"]

_MAX_COUNT = 100_000
_MAX_BYTES = 64 * 1_024 * 1_024
_OVERHEAD = 200  # bytes that a waiting message costs besides its payload, roughly
_TURN = 1_000  # deliveries taken before others of the loop have their turn


class Inbox:
    """Deliveries in order. One that is full forgets what waits and says so: bounded, and true."""

    def __init__(self) -> None:
        self._waiting: deque[Delivery] = deque()
        self._bytes = 0
        self._wakeup = asyncio.Event()
        self._is_closed = False
        self._error: BrokerUnavailable | None = None

    def put(self, topic: str, payloads: list[bytes]) -> None:
        """Add messages."""
        self._bytes += sum(map(len, payloads)) + _OVERHEAD * len(payloads)
        self._waiting.extend([Message(topic, payload) for payload in payloads])
        if self._bytes > _MAX_BYTES or len(self._waiting) > _MAX_COUNT:
            self._waiting.clear()
            self._waiting.extend((Lost(), Restored()))
            self._bytes = 0
        self._wakeup.set()

    def tell(self, deliveries: Iterable[Delivery]) -> None:
        """Add a gap or its end."""
        self._waiting.extend(deliveries)
        self._wakeup.set()

    def forget(self, topics: frozenset[str]) -> None:
        """Drop the messages of topics that nobody wants any more."""
        kept = [one for one in self._waiting if not isinstance(one, Message) or one.topic not in topics]
        self._waiting = deque(kept)
        self._bytes = sum(len(one.payload) + _OVERHEAD for one in kept if isinstance(one, Message))

    def fail(self, error: BrokerUnavailable) -> None:
        """End it by an error, raised once what waits has been taken; the first error counts."""
        self._error = self._error or error
        self._wakeup.set()

    def close(self) -> None:
        """End it at once and without an error."""
        self._is_closed = True
        self._waiting.clear()
        self._wakeup.set()

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Yield what arrives until closed; raises the error that ended it."""
        while not self._is_closed:
            for _ in range(min(_TURN, len(self._waiting))):
                if not self._waiting:
                    break  # forgotten, while the last one was looked at
                delivery = self._waiting.popleft()
                if isinstance(delivery, Message):
                    self._bytes -= len(delivery.payload) + _OVERHEAD
                yield delivery
            if self._waiting:
                await asyncio.sleep(0)
            elif self._error is not None and not self._is_closed:
                raise self._error
            elif not self._is_closed:
                self._wakeup.clear()
                await self._wakeup.wait()
