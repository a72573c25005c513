"""NSQ: ``nsq://host:4150``, ``nsqs://host:4150`` (TLS), ``nsq+lookup://host:4161``.

Delivery: every node has a channel of its own for each topic, so each gets everything, in no
promised order, perhaps twice. The channel is ephemeral: it is gone once its node is, and what is published
until the node is back is lost to it, as is what exceeds the ``--mem-queue-size`` of nsqd in a
channel whose node takes nothing. Any other loss shows as the end of a connection, raised by `receive`.

On the wire it is what nodes in Go do: the topic is the entity's name, a message is one payload.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from functools import lru_cache
from uuid import uuid4

from entity_sync.brokers.address import Address, tls_context, warn_plaintext
from entity_sync.brokers.base import TRANSIENT, Delivery, Lost, Restored
from entity_sync.brokers.inbox import Inbox
from entity_sync.brokers.nsq import protocol
from entity_sync.brokers.nsq.connection import Connection
from entity_sync.brokers.nsq.endpoint import Endpoint, bounded
from entity_sync.brokers.nsq.lookup import Place, nodes, producers
from entity_sync.errors import BrokerError, BrokerUnavailable, ConfigurationError

__all__ = ["NsqBroker"]

_log = logging.getLogger("entity_sync.brokers.nsq")
_EPHEMERAL = "#ephemeral"
_POLL = 10.0  # seconds between questions to nsqlookupd


class NsqBroker:
    """One node's connections: one that publishes, and one for each topic and nsqd."""

    def __init__(
        self,
        url: str = "nsq://127.0.0.1:4150",
        *,
        tls: ssl.SSLContext | None = None,
        secret: str | None = None,
    ) -> None:
        """
        Args:
            url: several nsqds are separated by commas: all are listened to, the first is published to.
                With ``nsq+lookup`` the hosts are nsqlookupds and tell which nsqds have a topic;
                ``?nsqd=host:port`` names the one to publish to, else the first by name is taken. ``nsqs`` and
                ``?tls=1`` encrypt, ``?ca=FILE`` names the authority to trust.
                The secret of AUTH is the password: ``nsq://:secret@host``, or ``?auth_secret=secret``.
            tls: a context of your own in place of the URL's options.
            secret: in place of the URL's.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self._is_lookup = url.partition(":")[0].lower() == "nsq+lookup"
        address = Address.parse(url, 4161 if self._is_lookup else 4150)
        options = address.options
        if tls is None and (address.scheme == "nsqs" or options.get("tls") == "1"):
            tls = tls_context(options)
        if tls is None:
            warn_plaintext(address, "nsq+lookup://…?tls=1" if self._is_lookup else "nsqs://…")
        self._address, self._tls = address, tls
        self._secret = secret or address.password or options.get("auth_secret")
        named = Address.parse(f"nsq://{options['nsqd']}", 4150).hosts if "nsqd" in options else ()
        self._target: Place | None = named[0] if named else None if self._is_lookup else address.hosts[0]
        self._inbox: Inbox | None = None
        self._publisher: Connection | None = None
        self._published_to: set[Place] = set()
        self._topics: dict[str, dict[Place, Connection]] = {}
        self._following: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Open the connection that publishes.

        Raises:
            BrokerUnavailable: nsqd or nsqlookupd cannot be reached.
            ConfigurationError: nsqd wants a secret or TLS that the URL does not give, or has no TLS.
        """
        await self.close()
        inbox = self._inbox = Inbox()
        try:
            async with bounded(self._address):
                place = self._target or await self._first()
                publisher = await Connection.open(self._endpoint(place))
        except BaseException:
            if self._inbox is inbox:
                self._inbox = None
            raise
        if self._inbox is not inbox:
            publisher.abort()
            raise BrokerUnavailable(f"{self._address} was closed meanwhile")
        self._publisher, self._published_to = publisher, {place}
        publisher.when_ended(inbox.fail)
        if self._is_lookup:
            self._following = asyncio.get_running_loop().create_task(self._follow(inbox))

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Return once nsqd accepted all payloads.

        Raises:
            BrokerUnavailable: it did not; some of several hundred KiB may have been accepted.
            ConfigurationError: the topic's name is not NSQ's.
            BrokerError: a payload is empty, which NSQ does not carry.
        """
        name = _wire_name(topic)
        if not all(payloads):
            raise BrokerError("NSQ carries no empty messages")
        for bodies in protocol.batches(payloads):
            if self._publisher is None:
                raise BrokerUnavailable(f"{self._address} is not connected")
            await self._publisher.publish(name, bodies)

    async def subscribe(self, topics: Collection[str]) -> None:
        """Return once each nsqd confirmed each topic; raises as `connect`."""
        inbox = self._inbox
        if inbox is None:
            raise BrokerUnavailable(f"{self._address} is not connected")
        new = [topic for topic in dict.fromkeys(topics) if topic not in self._topics]
        for topic in new:
            _wire_name(topic)
        async with bounded(self._address):
            opened = await self._open(inbox, {topic: await self._places(topic) for topic in new})
        for topic, connections in opened.items():
            if self._topics.setdefault(topic, connections) is not connections:
                _abort(connections.values())  # another call was faster

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Close the connections of these topics: NSQ knows no other end of a subscription."""
        gone = [connection for topic in topics for connection in self._topics.pop(topic, {}).values()]
        if self._inbox is not None:
            self._inbox.forget(frozenset(topics))
        await asyncio.gather(*(connection.close() for connection in gone))

    async def receive(self) -> AsyncIterator[Delivery]:
        """Yield what arrives until `close`; raises BrokerUnavailable when any connection ends."""
        if self._inbox is None:
            raise BrokerUnavailable(f"{self._address} is not connected")
        async for delivery in self._inbox.deliveries():
            yield delivery

    async def close(self) -> None:
        """Say goodbye, for a second at most."""
        inbox, publisher, following = self._inbox, self._publisher, self._following
        connections = [one for joined in self._topics.values() for one in joined.values()]
        self._inbox = self._publisher = self._following = None
        self._topics = {}
        if inbox is not None:
            inbox.close()
        closing = [one.close() for one in (*connections, publisher) if one is not None]
        if following is not None:
            following.cancel()
            await asyncio.gather(asyncio.wait([following]), *closing)
        else:
            await asyncio.gather(*closing)

    def _endpoint(self, place: Place) -> Endpoint:
        return Endpoint(*place, tls=self._tls, secret=self._secret)

    async def _open(self, inbox: Inbox, wanted: dict[str, set[Place]]) -> dict[str, dict[Place, Connection]]:
        """Subscribe to each topic at each place: all of it, or the first failure is raised."""
        opened: dict[str, dict[Place, Connection]] = {topic: {} for topic in wanted}
        try:
            async with asyncio.TaskGroup() as group:
                for topic, places in wanted.items():
                    for place in places:
                        group.create_task(self._open_one(inbox, topic, place, opened[topic]))
            if self._inbox is not inbox:
                raise BrokerUnavailable(f"{self._address} was closed meanwhile")
        except BaseException as error:
            for connections in opened.values():
                _abort(connections.values())
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        return opened

    async def _open_one(
        self, inbox: Inbox, topic: str, place: Place, opened: dict[Place, Connection]
    ) -> None:
        connection = opened[place] = await Connection.open(self._endpoint(place))
        connection.deliver = lambda payloads: inbox.put(topic, payloads)
        # A new name each time: nsqd may still hold the channel of a connection that is half dead.
        channel = protocol.channel_name(f"{uuid4()}{_EPHEMERAL}")
        await connection.subscribe(_wire_name(topic), channel)
        connection.when_ended(inbox.fail)

    async def _places(self, topic: str) -> set[Place]:
        if not self._is_lookup:
            return set(self._address.hosts) | self._published_to
        name = _wire_name(topic).decode()
        return await self._ask(lambda lookup: producers(lookup, name)) | self._published_to

    async def _first(self) -> Place:
        found = await self._ask(nodes)
        if not found:
            raise BrokerUnavailable(f"{self._address} knows no nsqd")
        return min(found)

    async def _ask(self, question: Callable[[Place], Awaitable[set[Place]]]) -> set[Place]:
        """What the nsqlookupds that answer know together."""
        answers = await asyncio.gather(*map(question, self._address.hosts), return_exceptions=True)
        found = [answer for answer in answers if isinstance(answer, set)]
        if not found:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return set[Place]().union(*found)

    async def _follow(self, inbox: Inbox) -> None:
        """Subscribe at nsqds that get a topic later; what they carried before is a gap."""
        lost: set[str] = set()
        while True:
            await asyncio.sleep(_POLL)
            lost &= self._topics.keys()
            for topic, known in list(self._topics.items()):
                try:
                    await self._catch_up(inbox, topic, known, lost)
                except (BrokerError, ConfigurationError) as error:
                    _log.warning("topic %s: %s; next try in %g s", topic, error, _POLL)

    async def _catch_up(
        self, inbox: Inbox, topic: str, known: dict[Place, Connection], lost: set[str]
    ) -> None:
        async with bounded(self._address):
            new = (await self._places(topic)).difference(known)
            if new and topic not in lost:
                lost.add(topic)
                inbox.tell([Lost(frozenset({topic}))])
            opened = await self._open(inbox, {topic: new})
        if self._topics.get(topic) is not known:  # unsubscribed meanwhile
            _abort(opened[topic].values())
            return
        known |= opened[topic]
        if topic in lost:
            lost.discard(topic)
            inbox.tell([Restored(frozenset({topic}))])


def _abort(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.abort()


@lru_cache(maxsize=1_024)
def _wire_name(topic: str) -> bytes:
    """A topic as nsqd knows it; one that may go with its subscribers is ephemeral there."""
    if "#" in topic:
        raise ConfigurationError(f"{topic!r} cannot be a topic: '#' is NSQ's own")
    if topic.endswith(TRANSIENT):
        return protocol.topic_name(topic.removesuffix(TRANSIENT) + _EPHEMERAL)
    return protocol.topic_name(topic)
