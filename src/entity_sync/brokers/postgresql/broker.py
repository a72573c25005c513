"""PostgreSQL: ``postgresql://user:password@host:5432/database``.

Delivery: every listening node gets every notification, in the order of their commits. What is notified
while a node does not listen is lost to it; the end of its session is raised by `receive`, and a session
into a black hole is noticed by a question every two seconds. All topics share one channel of
PostgreSQL, since each LISTEN of each node costs every NOTIFY.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from entity_sync.brokers.address import Address, warn_plaintext
from entity_sync.brokers.base import Delivery
from entity_sync.brokers.inbox import Inbox
from entity_sync.brokers.postgresql.letter import Letters, read
from entity_sync.brokers.postgresql.session import PATIENCE, Session, check_driver, open_session
from entity_sync.errors import BrokerUnavailable, ConfigurationError, EntitySyncError

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
                ``psycopg_pool.AsyncConnectionPool``, of which two connections are held while connected.
            channel: separates applications in one database.

        Raises:
            ConfigurationError: the URL or the channel cannot be used.
            MissingExtra: neither asyncpg nor psycopg is installed.
        """
        self._source, self._driver, self._name = source, "", "PostgreSQL"
        if isinstance(source, str):
            address = Address.parse(source, 5432)
            options = dict(address.options)
            channel = options.pop("channel", channel)
            self._driver = check_driver(options.pop("driver", None))
            if options.get("sslmode") not in {"verify-full", "verify-ca"}:
                warn_plaintext(address, "?sslmode=verify-full")
            self._source = urlunsplit(urlsplit(source)._replace(query=urlencode(options)))
            self._name = str(address)
        if not 0 < len(channel.encode()) < 64 or "\0" in channel:
            raise ConfigurationError("the channel of a postgresql broker is 1 to 63 bytes")
        self._channel = channel
        self._letters = Letters()
        self._topics: frozenset[str] = frozenset()
        self._turn = asyncio.Lock()
        self._inbox: Inbox | None = None
        self._sessions: list[Session] = []
        self._following: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Open both sessions.

        Raises:
            BrokerUnavailable: PostgreSQL cannot be reached, or refuses.
        """
        await self.close()
        inbox = self._inbox = Inbox()
        self._topics, self._turn = frozenset(), asyncio.Lock()
        try:
            async with self._bounded():
                for _ in range(2):
                    self._sessions.append(await open_session(self._source, self._driver))
        except BaseException:
            await self.close()
            raise
        if self._inbox is not inbox:
            raise BrokerUnavailable(f"{self._name} was closed meanwhile")

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Return once a transaction that notifies all payloads is committed.

        Raises:
            BrokerUnavailable: it was not, as when PostgreSQL's queue of notifications is full.
            BrokerError: a payload is longer than PostgreSQL carries.
        """
        texts = [self._letters.write(topic, payload) for payload in payloads]
        inbox = self._inbox
        if inbox is None:
            raise BrokerUnavailable(f"{self._name} is not connected")
        try:
            async with self._bounded(), self._turn:  # a session runs one statement at a time
                if self._inbox is not inbox:
                    raise BrokerUnavailable("the session is closed")
                await self._sessions[1].notify(self._channel, texts)
        except BrokerUnavailable as error:
            inbox.fail(
                error
            )  # a session that cannot notify has to be opened anew, although the other listens
            raise

    async def subscribe(self, topics: Collection[str]) -> None:
        """Return once PostgreSQL confirmed; raises as `connect`."""
        if self._inbox is None:
            raise BrokerUnavailable(f"{self._name} is not connected")
        self._topics = self._topics.union(topics)
        if self._following is None:
            async with self._bounded():
                await self._sessions[0].listen(self._channel, self._take)
            self._following = asyncio.get_running_loop().create_task(self._follow(self._inbox))

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Drop these topics: the one channel goes on."""
        self._topics = self._topics.difference(topics)
        if self._inbox is not None:
            self._inbox.forget(frozenset(topics))

    async def receive(self) -> AsyncIterator[Delivery]:
        """Yield what arrives until `close`; raises BrokerUnavailable when the session ends."""
        if self._inbox is None:
            raise BrokerUnavailable(f"{self._name} is not connected")
        async for delivery in self._inbox.deliveries():
            yield delivery

    async def close(self) -> None:
        """End both sessions, for two seconds at most."""
        inbox, sessions, following = self._inbox, self._sessions, self._following
        self._inbox, self._sessions, self._following = None, [], None
        if inbox is not None:
            inbox.close()
        if following is not None:
            following.cancel()
            await asyncio.wait([following], timeout=1.0)
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)

    def _take(self, text: str) -> None:
        message = read(text)
        if message is not None and message.topic in self._topics and self._inbox is not None:
            self._inbox.put(message.topic, [message.payload])

    async def _follow(self, inbox: Inbox) -> None:
        try:
            async with self._translated():
                await self._sessions[0].follow()
        except BrokerUnavailable as error:
            inbox.fail(error)

    @asynccontextmanager
    async def _bounded(self) -> AsyncGenerator[None, None]:
        async with self._translated(), asyncio.timeout(PATIENCE):
            yield

    @asynccontextmanager
    async def _translated(self) -> AsyncGenerator[None, None]:
        """Drivers raise much; what they say may hold the password, so only its kind is told."""
        try:
            yield
        except EntitySyncError as error:
            if type(error) is BrokerUnavailable:
                raise BrokerUnavailable(f"{self._name}: {error}") from None
            raise
        except TimeoutError:
            raise BrokerUnavailable(f"{self._name} did not answer within {PATIENCE:g} s") from None
        except Exception as error:  # noqa: BLE001 - asyncpg and psycopg have hierarchies of their own
            raise BrokerUnavailable(f"{self._name}: {type(error).__name__}") from None
