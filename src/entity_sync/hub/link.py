"""This node's link to the broker: changes out, changes in, and when some may have been lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from random import Random

from entity_sync.brokers.base import Broker, Delivery, Lost, Message
from entity_sync.clock import Clock
from entity_sync.core import change as wire
from entity_sync.core.announce import Announcer
from entity_sync.errors import BrokerUnavailable
from entity_sync.model import EntityKey

__all__ = ["Link"]

_log = logging.getLogger("entity_sync.link")
_BATCH = 500  # payloads handed to the broker in one publish
_FIRST_DELAY, _MAX_DELAY = 0.05, 5.0


class Link:
    """Keeps the broker connected, and says when it is not.

    Attributes:
        is_up: every topic is confirmed.
        is_confirmed: it was up at least once.
        dropped: messages that were no Changes.
    """

    def __init__(
        self,
        broker: Broker,
        topics: Collection[str],
        announcer: Announcer,
        *,
        clock: Clock,
        random: Random,
        max_deferred: int,
        changed: Callable[[EntityKey], None],
        lost: Callable[[], None],
        restored: Callable[[Collection[str] | None], None],
    ) -> None:
        """
        Args:
            topics: what to subscribe to: the entities' names.
            announcer: numbers what this node publishes.
            changed: called with every key that another node says changed.
            lost: called when changes may be lost from now on.
            restored: called, once the broker confirmed, with the topics concerned (None: all).
        """
        self.is_up = False
        self.is_confirmed = False
        self.dropped = 0
        self._broker = broker
        self._topics = frozenset(topics)
        self._announcer = announcer
        self._clock = clock
        self._random = random
        self._max_deferred = max_deferred
        self._changed, self._lost, self._restored = changed, lost, restored
        self._deferred: dict[EntityKey, None] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._missing: frozenset[str] = frozenset()
        self._attempted = asyncio.Event()
        self._down_since = clock.now()

    @property
    def age(self) -> float:
        """Seconds since the link was last known to carry everything; 0 while it is up."""
        return 0.0 if self.is_up else self._clock.now() - self._down_since

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be handed to the broker."""
        return not self._deferred and (self._flushing is None or self._flushing.done())

    async def attempted(self) -> None:
        """Return once the first try to connect succeeded or failed."""
        await self._attempted.wait()

    async def run(self) -> None:
        """Connect, and connect again whenever the link ends, until cancelled."""
        delay = _FIRST_DELAY
        try:
            while True:
                try:
                    await self._broker.connect()
                    await self._broker.subscribe(self._topics)
                    delay = _FIRST_DELAY
                    self._up(None)
                    async for delivery in self._broker.receive():
                        self._take(delivery)
                    raise BrokerUnavailable("the link ended")
                except BrokerUnavailable as error:
                    _log.warning("broker link: %s; next try in about %.2g s", error, delay)
                except Exception:
                    if not self.is_confirmed:
                        raise  # it never worked: whoever starts the node is told
                    _log.exception("broker link: the adapter failed; next try in about %.2g s", delay)
                self._down()
                self._attempted.set()
                await self._close()
                await self._clock.sleep(delay * self._random.uniform(0.5, 1.0))
                delay = min(_MAX_DELAY, delay * 2)
        finally:
            if self._flushing is not None:
                self._flushing.cancel()
            await self._close()

    async def publish(self, keys: Sequence[EntityKey]) -> bool:
        """Tell the other nodes that these keys changed.

        Returns:
            True when the broker accepted all, False when some are kept until it returns.

        Raises:
            BrokerUnavailable: the broker is away and too many keys are kept already.
        """
        if self.is_up and not self._deferred:
            try:
                await self._hand_over(keys)
                return True
            except BrokerUnavailable as error:
                _log.warning("publish: %s; %d keys are kept until the broker returns", error, len(keys))
        if len(self._deferred.keys() | keys) > self._max_deferred:
            raise BrokerUnavailable(f"the broker is away and {len(self._deferred)} keys wait for it already")
        self._deferred.update(dict.fromkeys(keys))
        self._flush_soon()
        return False

    async def _hand_over(self, keys: Sequence[EntityKey]) -> None:
        for topic, payloads in self._announcer.messages(keys).items():
            for start in range(0, len(payloads), _BATCH):
                await self._broker.publish(topic, payloads[start : start + _BATCH])

    def _take(self, delivery: Delivery) -> None:
        if isinstance(delivery, Message):
            self._receive(delivery)
        elif isinstance(delivery, Lost):
            self._missing |= self._topics if delivery.topics is None else delivery.topics & self._topics
            self._down()
        else:
            self._up(delivery.topics)

    def _receive(self, message: Message) -> None:
        change = wire.decode(message.payload)
        if change is None:
            self.dropped += 1
            if self.dropped.bit_count() == 1:  # 1, 2, 4, 8 …: a flood cannot fill the log
                _log.warning(
                    "%d messages dropped that are no changes, the last on %s", self.dropped, message.topic
                )
        elif change.origin is None or change.origin.epoch != self._announcer.epoch:
            self._changed(change.key)
        # Our own echo: the views were triggered at notify, so loading now would be a second load.

    def _up(self, topics: Collection[str] | None) -> None:
        self._missing = frozenset() if topics is None else self._missing.difference(topics)
        if not self._missing:
            self.is_up = self.is_confirmed = True
        self._attempted.set()
        self._restored(topics)
        self._flush_soon()

    def _down(self) -> None:
        if self.is_up:
            self.is_up = False
            self._down_since = self._clock.now()
            self._lost()

    async def _close(self) -> None:
        try:
            await self._broker.close()
        except Exception:  # noqa: BLE001 - an adapter's driver may raise anything
            _log.exception("broker link: closing it failed")

    def _flush_soon(self) -> None:
        if self.is_up and self._deferred and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        delay = _FIRST_DELAY
        while self.is_up and self._deferred:
            # Taken out first: a key that changes again meanwhile is kept again, for one more message.
            keys = list(self._deferred)[:_BATCH]
            for key in keys:
                del self._deferred[key]
            try:
                await self._hand_over(keys)
            except BrokerUnavailable as error:
                # Also where the link itself says nothing is wrong: a kept key must not be forgotten.
                self._deferred = dict.fromkeys(keys) | self._deferred
                _log.warning("publish of kept keys: %s; next try in about %.2g s", error, delay)
                await self._clock.sleep(delay * self._random.uniform(0.5, 1.0))
                delay = min(_MAX_DELAY, delay * 2)
