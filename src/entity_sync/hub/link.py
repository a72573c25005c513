"""This node's link to the broker: what comes in, and when some of it may have been lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random

from entity_sync.brokers.base import Broker, Delivery, Lost, Message
from entity_sync.clock import Clock, Timer, is_cancelled, timeout
from entity_sync.core.announce import Announcer
from entity_sync.core.control import Beat, Order
from entity_sync.core.control import Echo as Number
from entity_sync.core.envelope import CONTROL, Envelope, private
from entity_sync.core.sequences import Sequences
from entity_sync.errors import BrokerUnavailable
from entity_sync.hub.echo import Echo
from entity_sync.hub.gaps import Gaps
from entity_sync.hub.outgoing import Outgoing
from entity_sync.model import Change, Origin, Source
from entity_sync.settings import Settings

__all__ = ["Link", "Reactions"]

_log = logging.getLogger("entity_sync.link")
_FIRST_DELAY, _MAX_DELAY = 0.05, 2.0
_CONNECT_TIMEOUT = _CLOSE_TIMEOUT = 10.0
_SETTLE = 0.1
"""Seconds from a confirmed subscription to the first load after it. What other nodes published before
that moment is covered by those loads, and a message needs less than this to arrive: so the first ones
heard of a source do not look as if their predecessors were lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reactions:
    """What a link leads to.

    Attributes:
        changed: called with every change that another node tells.
        resync: called, once the broker confirmed, to load these entities (None: all) again.
        lost: called when changes may be lost from now on.
        is_watched: whether there is anything to load again.
    """

    changed: Callable[[Change], object]
    resync: Callable[[Collection[str] | None], None]
    lost: Callable[[], None]
    is_watched: Callable[[], bool]


class Link:
    """Keeps the broker connected, and says when it is not.

    Attributes:
        is_up: every topic is confirmed.
        is_confirmed: it was up at least once.
        dropped: messages that nobody of this application can have sent.
        outgoing: what goes to the other nodes.
        gaps: what is missing of what comes from them.
        source: who we are.
    """

    def __init__(
        self,
        broker: Broker,
        names: Collection[str],
        envelope: Envelope,
        source: Source,
        *,
        settings: Settings,
        clock: Clock,
        random: Random,
        reactions: Reactions,
    ) -> None:
        """
        Args:
            names: the entities.
            envelope: how this application spells topics and messages.
            source: who we are.
        """
        self.is_up = False
        self.is_confirmed = False
        self.dropped = 0
        self._broker = broker
        self._envelope = envelope
        self.source = source
        self._private = private(source.publisher)
        self._names = frozenset(names)
        self._topics = frozenset(map(envelope.topic, (*names, CONTROL, self._private)))
        self._clock = clock
        self._random = random
        self._reactions = reactions
        self.outgoing = Outgoing(
            broker, envelope, Announcer(source), self._carries, settings=settings, clock=clock, random=random
        )
        sequences = Sequences((*names, CONTROL), settings.gap_grace)
        self._peers = lambda: sequences.sources
        self.gaps = Gaps(sequences, clock, random, settings.gap_interval, self._reload)
        self._echo = Echo(clock, settings.echo_interval, settings.echo_timeout, self._send_echo)
        self._delay = _FIRST_DELAY
        self._missing: frozenset[str] = frozenset()
        self._is_heard = False
        self._restored: set[str] = set()
        self._settling: Timer | None = None
        self._attempted = asyncio.Event()

    @property
    def age(self) -> float:
        """Seconds since the link is known to have carried everything."""
        return self._clock.now() - self._echo.confirmed

    @property
    def is_settled(self) -> bool:
        """Whether it is up, and all that has to be loaded again for that has begun."""
        return self.is_up and not self._restored

    async def attempted(self) -> None:
        """Return once the first try to connect succeeded or failed."""
        await self._attempted.wait()

    async def run(self) -> None:
        """Connect, and connect again whenever the link ends, until cancelled."""
        try:
            while True:
                try:
                    await self._connect()
                    await self._carry()
                except BrokerUnavailable as error:
                    _log.warning("broker link: %s; next try in about %.2g s", error, self._delay)
                except asyncio.CancelledError:
                    if is_cancelled():
                        raise
                    _log.exception("broker link: the driver cancelled itself")
                except Exception:
                    if not self._attempted.is_set():
                        raise  # it never worked: whoever starts the node is told
                    _log.exception("broker link: the adapter failed; next try in about %.2g s", self._delay)
                self._is_heard, self._missing = False, frozenset()
                self._down()
                self._attempted.set()
                await self._close()
                await self._clock.sleep(self._delay * self._random.uniform(0.5, 1.0))
                self._delay = min(_MAX_DELAY, self._delay * 2)
        finally:
            self._is_heard = False  # what is kept from now on is not handed over any more
            self.outgoing.close()
            self.gaps.close()
            if self._settling is not None:
                self._settling.cancel()
            await self._close()

    # One connection

    async def _connect(self) -> None:
        try:
            async with timeout(self._clock, _CONNECT_TIMEOUT):
                await self._broker.connect()
                await self._broker.subscribe(self._topics)
        except TimeoutError:
            raise BrokerUnavailable(f"the broker did not answer for {_CONNECT_TIMEOUT:g} s") from None

    async def _carry(self) -> None:
        """Receive, beat and listen to ourselves until one of them fails; up once we have heard ourselves."""
        loop = asyncio.get_running_loop()
        jobs = [
            loop.create_task(self._receive()),
            loop.create_task(self._echo.watch(self._heard, self._hears)),
            loop.create_task(self.outgoing.beat(self._peers, self.gaps.poll)),
        ]
        try:
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            for job in done:
                job.result()
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    async def _receive(self) -> None:
        async for delivery in self._broker.receive():
            self._take(delivery)
        raise BrokerUnavailable("the link ended")

    async def _send_echo(self, number: int) -> None:
        await self.outgoing.say(self._private, Number(self.source.epoch, number))

    async def _close(self) -> None:
        try:
            async with timeout(self._clock, _CLOSE_TIMEOUT):
                await self._broker.close()
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            _log.exception("broker link: the driver cancelled its own closing")
        except Exception:  # noqa: BLE001 - an adapter's driver may raise anything
            _log.exception("broker link: closing it failed")

    # What comes in

    def _take(self, delivery: Delivery) -> None:
        if isinstance(delivery, Message):
            self._open(delivery)
        elif isinstance(delivery, Lost):
            self._missing |= self._topics if delivery.topics is None else delivery.topics & self._topics
            self._down()
        else:
            self._up(delivery.topics)

    def _open(self, message: Message) -> None:
        name = self._envelope.name(message.topic)
        letter = self._envelope.open(message.topic, message.payload)
        match letter:
            case None:
                self._drop(name)
            case Change():
                self._hear(name, letter.origin)
                if letter.origin is None or letter.origin.source != self.source:
                    self._reactions.changed(letter)
                # Our own came back: the views were triggered at notify; now would be a second load.
            case Order():
                self._hear(CONTROL, letter.origin)
                if letter.origin.source != self.source:
                    self.gaps.ordered(self._names.intersection(letter.entities))
            case Beat():
                self.gaps.learn(letter)
            case Number():
                if letter.epoch == self.source.epoch:
                    self._echo.heard(letter.number)

    def _hear(self, name: str, origin: Origin | None) -> None:
        if origin is not None:
            self.gaps.hear(name, origin)

    def _drop(self, name: str) -> None:
        self.dropped += 1
        if self.dropped.bit_count() == 1:  # 1, 2, 4, 8 …: a flood cannot fill the log
            _log.warning("%d messages dropped that no node can have sent, the last on %s", self.dropped, name)
        if name in self._names:
            self.gaps.strange(name)

    # What may have been lost

    def _carries(self) -> bool:
        """Whether we heard ourselves on this connection: what we say goes out, whichever topic is lost."""
        return self._is_heard

    def _hears(self) -> bool:
        return self._is_heard and self._envelope.topic(self._private) not in self._missing

    def _heard(self) -> None:
        self._delay, self._is_heard = _FIRST_DELAY, True
        self._up(self._topics - self._missing)

    def _up(self, topics: Collection[str] | None) -> None:
        self._missing = frozenset() if topics is None else self._missing.difference(topics)
        if not self._missing and self._is_heard:
            self.is_up = self.is_confirmed = True
        self._attempted.set()
        names = {self._envelope.name(topic) for topic in self._topics if topics is None or topic in topics}
        settle = _SETTLE if self._reactions.is_watched() else 0.0
        self.gaps.cover(names, self._clock.now() + settle)
        self._restored |= names
        if self._settling is not None:
            self._settling.cancel()
        if settle == 0.0:
            self._settled()
        else:
            self._settling = self._clock.call_later(settle, self._settled)
        self.outgoing.flush_soon()

    def _settled(self) -> None:
        self._settling = None
        names, self._restored = self._restored, set()
        self._load_again(names)

    def _reload(self, names: Collection[str]) -> None:
        _log.warning("messages about %s were lost: loading again what is watched", ", ".join(sorted(names)))
        self._load_again(names)

    def _load_again(self, names: Collection[str]) -> None:
        # A lost order may have named any entity.
        self._reactions.resync(None if CONTROL in names else self._names.intersection(names))

    def _down(self) -> None:
        if self.is_up:
            self.is_up = False
            self._reactions.lost()
