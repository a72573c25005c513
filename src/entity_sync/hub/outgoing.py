"""What this node tells the others: its changes, or later when the broker is away, and its beats."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import Random

from msgspec.structs import replace

from entity_sync.brokers.base import Broker
from entity_sync.clock import Clock, is_cancelled, timeout
from entity_sync.core.announce import Announcer
from entity_sync.core.backlog import Backlog
from entity_sync.core.control import MAX_SILENCE_MS, Control, Order
from entity_sync.core.envelope import CONTROL, Envelope
from entity_sync.errors import BrokerUnavailable
from entity_sync.hub.tasks import lazily
from entity_sync.model import Change
from entity_sync.settings import Settings

__all__ = ["Outgoing"]

_log = logging.getLogger("entity_sync.link")
_BATCH = 500  # payloads handed to the broker in one publish
_PAUSE = 0.025
"""Seconds between full batches: 20,000 keys a second. A node that is overrun loses messages in its broker's
queue, and has to load whole entities again."""
_FIRST_DELAY, _MAX_DELAY = 0.05, 2.0
_FLUSH_TIMEOUT, _BYE_TIMEOUT = 2.0, 1.0
_PEERS_A_SECOND = 4.0  # alive beats that a node hears, however many nodes there are


class Outgoing:
    """Numbers what this node says, hands it to the broker, and keeps what the broker does not take."""

    def __init__(
        self,
        broker: Broker,
        envelope: Envelope,
        announcer: Announcer,
        is_up: Callable[[], bool],
        *,
        settings: Settings,
        clock: Clock,
        random: Random,
    ) -> None:
        self._broker = broker
        self._envelope = envelope
        self._announcer = announcer
        self._settings = settings
        self._clock = clock
        self._random = random
        self._is_up = is_up
        self._backlog = Backlog(settings.max_deferred)
        self._failed: Order | None = None
        self._flushing: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be handed to the broker."""
        return not self._backlog and (self._flushing is None or self._flushing.done())

    async def publish(self, changes: Sequence[Change]) -> bool:
        """Tell the other nodes of these changes.

        Returns:
            True when the broker accepted all, False when some are kept until it does.
        """
        left = list(changes)
        try:
            if self._is_up() and not self._backlog:
                await self._hand_over(left)
        finally:  # also where whoever notified is gone, as a request may be; its change is not
            self._backlog.keep(left)
            self.flush_soon()
        return not left

    def flush_soon(self) -> None:
        """Hand over what was kept, if the link is up."""
        if self._is_up() and self._backlog and (self._flushing is None or self._flushing.done()):
            self._flushing = lazily(self._flush())

    async def say(self, name: str, letter: Control) -> None:
        """Publish a control message.

        Raises:
            BrokerUnavailable: the broker did not take it.
        """
        await self._publish(name, [self._envelope.seal(name, letter)])

    async def beat(self, peers: Callable[[], int], poll: Callable[[], None]) -> None:
        """Tell from time to time how far this node has numbered, until cancelled.

        Args:
            peers: how many sources there are; the more, the rarer each speaks, so that what a node
                hears of their life does not grow with their number.
            poll: called as often, to look for those that should have spoken.
        """
        clock, settings = self._clock, self._settings
        next_alive = clock.now()
        while True:
            await clock.sleep(settings.quiet_after)
            poll()
            now = clock.now()
            beats = self._announcer.quiet(now, settings.quiet_after)
            if self._announcer.has_spoken and now >= next_alive:
                interval = max(settings.alive_interval, peers() / _PEERS_A_SECOND)
                interval = min(interval, MAX_SILENCE_MS / 1_000)
                beats.append(self._announcer.alive(now, interval))
                next_alive = now + interval * self._random.uniform(0.8, 1.0)
            await self._beat(beats)

    async def bye(self) -> None:
        """Hand over what is kept, and say that nothing follows, so that nobody waits for it; for a bounded
        time.
        """
        try:
            async with timeout(self._clock, _FLUSH_TIMEOUT):
                await self._flushed()
        except TimeoutError:
            self.close()
            self._backlog.order_all()
        try:
            async with timeout(self._clock, _BYE_TIMEOUT):
                await self._last_words()
        except TimeoutError:
            _log.debug("the broker did not take this node's bye in time")
        if self._backlog:
            _log.warning("the broker was not told of all that changed here: other nodes may show it old")

    async def _flushed(self) -> None:
        """Return once all that is kept is handed over, or the link is down."""
        self.flush_soon()
        if self._flushing is not None and self._is_up():
            await asyncio.wait((self._flushing,))

    async def _last_words(self) -> None:
        """Without a bye the other nodes take our silence for a loss, which it is where something is left."""
        if self._flushing is not None:
            await asyncio.wait((self._flushing,))
        if self._is_up() and self._backlog:
            await self._flush_some()
        if self._is_up() and self._announcer.has_spoken and not self._backlog:
            await self._beat(self._announcer.bye(self._clock.now()))

    def close(self) -> None:
        """Hand over nothing more."""
        if self._flushing is not None:
            self._flushing.cancel()

    async def _beat(self, beats: Sequence[Control]) -> None:
        if not self._is_up():
            return
        try:
            for beat in beats:
                await self.say(CONTROL, beat)
        except BrokerUnavailable as error:
            _log.debug("a beat was not taken: %s", error)  # the echo says what that means

    async def _hand_over(self, left: list[Change]) -> None:
        """Publish with numbers; what the broker did not take is left, whatever ends this."""
        groups: dict[str, list[Change]] = {}
        for change in left:
            groups.setdefault(change.key.entity, []).append(change)
        try:
            for name, group in groups.items():
                await self._hand_over_of(name, group)
        finally:
            left[:] = [change for group in groups.values() for change in group]

    async def _hand_over_of(self, name: str, left: list[Change]) -> None:
        while left:
            batch = self._numbered(left[:_BATCH])
            left[:_BATCH] = batch  # whatever happens now, they keep their numbers
            try:
                if payloads := self._sealed(name, batch):
                    await self._publish(name, payloads)
            except BrokerUnavailable as error:
                _log.warning("publish: %s; %d keys are kept until the broker returns", error, len(left))
                return
            del left[: len(batch)]
            if len(batch) == _BATCH:
                await self._clock.sleep(_PAUSE)

    def _sealed(self, name: str, changes: Sequence[Change]) -> list[bytes]:
        """Their messages. One that cannot be made never can: its number, which goes missing, has the other
        nodes load its entity again.
        """
        payloads: list[bytes] = []
        for change in changes:
            try:
                payloads.append(self._envelope.seal(name, change))
            except Exception:  # noqa: BLE001 - whatever it is about this one, the others wait behind it
                _log.exception("publish: a change of %s cannot be written, and is dropped", name)
        return payloads

    def _numbered(self, changes: Sequence[Change]) -> list[Change]:
        """Numbered just before they go out, so that nothing that is said meanwhile overtakes them by much."""
        now = self._clock.now()
        self._announcer.again({change.key.entity for change in changes if change.origin is not None}, now)
        return self._announcer.numbered(changes, now)

    async def _publish(self, name: str, payloads: Sequence[bytes]) -> None:
        try:
            async with timeout(self._clock, self._settings.publish_timeout):
                await self._broker.publish(self._envelope.topic(name), payloads)
        except TimeoutError:
            raise BrokerUnavailable(
                f"the broker did not accept within {self._settings.publish_timeout:g} s"
            ) from None
        except BrokerUnavailable:
            raise
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise BrokerUnavailable("the adapter's driver cancelled itself") from None
        except Exception as error:  # noqa: BLE001 - an adapter's driver may raise anything; the keys are kept
            _log.exception("publish: the adapter failed")
            raise BrokerUnavailable(f"the adapter raised {type(error).__name__}") from None

    async def _flush(self) -> None:
        delay = _FIRST_DELAY
        while self._is_up() and self._backlog:
            if await self._flush_some():
                delay = _FIRST_DELAY
            else:
                await self._clock.sleep(delay * self._random.uniform(0.5, 1.0))
                delay = min(_MAX_DELAY, delay * 2)

    async def _flush_some(self) -> bool:
        entities, left = self._backlog.take(_BATCH)
        try:
            if entities:
                _log.warning(
                    "more keys changed than are kept: every node loads all of %s", ", ".join(entities)
                )
                await self._order(entities)
                entities = []
            await self._hand_over(left)
        except BrokerUnavailable:
            return False
        finally:
            self._backlog.order(entities)
            self._backlog.put_back(left)
        return not left

    async def _order(self, entities: Sequence[str]) -> None:
        """One that failed keeps its number, whatever it names by now: a missing one has all loaded again."""
        now = self._clock.now()
        if self._failed is None:
            self._failed = self._announcer.order(entities, now)
        else:
            self._announcer.again((CONTROL,), now)
        await self.say(CONTROL, replace(self._failed, entities=tuple(entities)))
        self._failed = None
