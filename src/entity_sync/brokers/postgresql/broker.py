"""PostgreSQL: ``postgresql://user:password@host:5432/database``.

Delivery: every listening node gets every notification, in the order of their commits. What is notified
while a node does not listen is lost to it; the end of its session is raised by `receive`, and a session
into a black hole is noticed by a question every two seconds. All topics share one channel of
PostgreSQL, since each LISTEN of each node costs every NOTIFY.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from entity_sync.brokers.base import Delivery
from entity_sync.brokers.postgresql.letter import Letters, read
from entity_sync.brokers.postgresql.link import Link
from entity_sync.brokers.postgresql.source import Source
from entity_sync.errors import BrokerUnavailable, ConfigurationError

__all__ = ["PostgresBroker"]


class PostgresBroker:
    """One node's two sessions: one that listens, one that notifies."""

    def __init__(self, source: Any, *, channel: str = "entity_sync") -> None:
        """
        Args:
            source: a URL as PostgreSQL's own clients take it (``?sslmode=verify-full&sslrootcert=FILE``),
                straight to the primary server: neither a pooler in transaction mode nor a standby
                carries LISTEN. ``?channel=NAME`` is the next argument, ``?driver=asyncpg`` or
                ``psycopg`` chooses between two installed drivers. Or an ``asyncpg.Pool``, or a
                ``psycopg_pool.AsyncConnectionPool``, of which up to two connections are held while
                connected.
            channel: separates applications in one database.

        Raises:
            ConfigurationError: the source or the channel cannot be used.
            MissingExtra: neither asyncpg nor psycopg is installed.
        """
        self._source = Source(source)
        self._channel = self._source.options.get("channel", channel)
        if not 0 < len(self._channel.encode()) < 64 or "\0" in self._channel:
            raise ConfigurationError("the channel of a postgresql broker is 1 to 63 bytes")
        self._letters = Letters()
        self._topics: frozenset[str] = frozenset()
        self._link: Link | None = None

    async def connect(self) -> None:
        """Open the session that notifies.

        Raises:
            BrokerUnavailable: PostgreSQL cannot be reached, or refuses.
        """
        await self.close()
        self._topics = frozenset()
        link = self._link = Link(self._source, self._channel)
        try:
            await link.start()
        except BaseException:
            await link.close()
            if self._link is link:
                self._link = None
            raise

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Return once a transaction that notifies all payloads is committed.

        Raises:
            BrokerUnavailable: it was not, as when PostgreSQL's queue of notifications is full.
            BrokerError: a payload is longer than PostgreSQL carries.
        """
        link = self._open_link()
        await link.notify([self._letters.write(topic, payload) for payload in payloads])

    async def subscribe(self, topics: Collection[str]) -> None:
        """Return once PostgreSQL confirmed the session that listens; raises as `connect`."""
        link = self._open_link()
        self._topics = self._topics.union(topics)
        await link.listen(lambda text: self._take(link, text))

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Drop these topics: the one channel goes on."""
        link = self._open_link()
        self._topics = self._topics.difference(topics)
        link.inbox.forget(frozenset(topics))

    async def receive(self) -> AsyncIterator[Delivery]:
        """Yield what arrives until `close`; raises BrokerUnavailable when the session that listens ends."""
        async for delivery in self._open_link().inbox.deliveries():
            yield delivery

    async def close(self) -> None:
        """End both sessions, for two seconds at most."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _open_link(self) -> Link:
        if self._link is None:
            raise BrokerUnavailable(f"{self._source} is closed")
        return self._link

    def _take(self, link: Link, text: str) -> None:
        message = read(text)
        if message is not None and message.topic in self._topics:
            link.inbox.put(message.topic, [message.payload])
