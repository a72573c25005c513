"""One node's link to NATS core.

Delivery: at most once; everything published while a node is away is lost to it, which `receive` says
by raising. The client library's reconnect is not used: it keeps what was published in an outage for
later and says it was sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from entity_sync.brokers.base import Delivery
from entity_sync.brokers.inbox import Inbox
from entity_sync.brokers.nats.client import FAILURES, TIMEOUT, Error, close, connect, written
from entity_sync.brokers.nats.settings import options_of
from entity_sync.errors import BrokerUnavailable

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

__all__ = ["NatsBroker"]

_PULSE = 2.0  # seconds between two questions whether the server is still there
_CHUNK = 262_144  # bytes that may wait in the client before more is added


class NatsBroker:
    """One node's connection to a NATS server."""

    def __init__(self, source: str | Client) -> None:
        """
        Args:
            source: a URL, or a connected client, which stays connected when this broker is closed. A
                reconnect of such a client is noticed within 2 s, and taken as the end of the link.

        Raises:
            ConfigurationError: a mistake in the URL.
        """
        self._options: dict[str, Any] | None = None
        self._client: Client | None = None
        if isinstance(source, str):
            self._options = options_of(source)
        else:
            self._client = source
        self._subscriptions: dict[str, Subscription] = {}
        self._inbox: Inbox | None = None
        self._ended: asyncio.Future[BrokerUnavailable] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = asyncio.Lock()
        self._reconnects = 0

    async def connect(self) -> None:
        """Open the link.

        Raises:
            BrokerUnavailable: no server answers, or it refuses us.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # a lock belongs to the loop in which two met
            self._loop, self._writing = loop, asyncio.Lock()
        self._inbox = Inbox()
        ended = self._ended = loop.create_future()
        try:
            if self._options is not None:
                self._client = await connect(self._options, partial(self._closed, ended))
            client = self._live()
            self._reconnects = client.stats["reconnects"]
            await self._exchange(_nothing)
        except BaseException:
            await self.close()
            raise
        self._watching = asyncio.create_task(self._watch(client))

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        """Return once the server has everything; raises BrokerUnavailable otherwise."""
        subject = _subject(topic)

        async def send(client: Client) -> None:
            for payload in payloads:
                if client.pending_data_size > _CHUNK:
                    await written(client)
                await client.publish(subject, payload)

        await self._exchange(send)

    async def subscribe(self, topics: Collection[str]) -> None:
        """Return once the server confirmed; raises BrokerUnavailable otherwise."""
        new: list[str] = []

        async def send(client: Client) -> None:
            for topic in set(topics).difference(self._subscriptions):
                self._subscriptions[topic] = await client.subscribe(_subject(topic), cb=self._on(topic))
                new.append(topic)

        try:
            await self._exchange(send)
        except BaseException:
            await self._leave(new)
            raise

    async def unsubscribe(self, topics: Collection[str]) -> None:
        """Receive these topics no longer."""
        self._live()
        await self._leave(topics)

    async def _leave(self, topics: Collection[str]) -> None:
        for topic in set(topics).intersection(self._subscriptions):
            with suppress(*FAILURES):
                await self._subscriptions.pop(topic).unsubscribe()

    async def receive(self) -> AsyncIterator[Delivery]:
        """Yield what arrives until closed.

        Raises:
            BrokerUnavailable: the link ended.
        """
        inbox = self._inbox
        if inbox is None:
            raise BrokerUnavailable("the link to NATS is closed")
        async for delivery in inbox.deliveries():
            yield delivery

    async def close(self) -> None:
        """Close the link; a client that was handed over only loses our subscriptions."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            inbox.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        if self._options is None:
            await self._leave(tuple(self._subscriptions))
        elif self._client is not None:
            client, self._client = self._client, None
            self._subscriptions.clear()
            await close(client)

    def _live(self) -> Client:
        if self._inbox is None or self._client is None:
            raise BrokerUnavailable("the link to NATS is closed")
        if self._ended is not None and self._ended.done():
            raise self._ended.result()
        if not self._client.is_connected:
            raise self._end("it was interrupted")
        return self._client

    async def _exchange(self, send: Callable[[Client], Awaitable[None]]) -> None:
        """Send something, and return once the server has processed it.

        `Client.flush` would not do: its ping overtakes what waits to be written, and when it is
        cancelled or late, the pong stops the client from reading.
        """
        client, ended = self._live(), self._ended
        assert ended is not None
        refused = client.last_error
        pong: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(TIMEOUT):
                async with self._writing:
                    await send(client)
                    await written(client)
                await client._send_ping(pong)
                await asyncio.wait([pong, ended], return_when=asyncio.FIRST_COMPLETED)
        except Error as error:
            raise BrokerUnavailable(f"NATS did not take it: {error}") from None
        except TimeoutError:
            raise self._end(f"no answer for {TIMEOUT:g} s") from None
        except OSError as error:
            raise self._end(error) from None
        if ended.done():
            raise ended.result()
        if client.last_error is not refused:
            raise BrokerUnavailable(f"NATS refused it: {client.last_error}")

    async def _watch(self, client: Client) -> None:
        """Find out that the server is gone, which a silent connection does not tell."""
        try:
            while client.stats["reconnects"] == self._reconnects:
                await asyncio.sleep(_PULSE)
                await self._exchange(_nothing)
        except BrokerUnavailable:
            pass
        finally:
            self._end("it was interrupted")

    def _closed(self, ended: asyncio.Future[BrokerUnavailable], why: object) -> None:
        if ended is self._ended:  # an earlier client may say it late
            self._end(why)

    def _end(self, why: object) -> BrokerUnavailable:
        unavailable = BrokerUnavailable(f"the link to NATS ended: {why}")
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(unavailable)
            if self._inbox is not None:
                self._inbox.fail(unavailable)
        return unavailable

    def _on(self, topic: str) -> Callable[[Msg], Awaitable[None]]:
        async def take(message: Msg) -> None:
            if self._inbox is not None:
                self._inbox.put(topic, [message.data])

        return take


def _subject(topic: str) -> str:
    """The subject of a topic: NATS has no empty tokens between dots, our names may."""
    return ".".join(token or "=" for token in topic.split("."))


async def _nothing(client: Client) -> None:
    """Send nothing: the exchange is only a question whether the server is there."""
