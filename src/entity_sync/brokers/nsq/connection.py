"""One connection to one nsqd: handshake, messages, liveness."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

from entity_sync.brokers.nsq import protocol
from entity_sync.brokers.nsq.endpoint import PATIENCE, Endpoint
from entity_sync.brokers.nsq.exchange import Exchange
from entity_sync.brokers.nsq.protocol import Failure, Frame, Frames, Incoming
from entity_sync.errors import BrokerUnavailable, ConfigurationError

__all__ = ["Connection"]

_log = logging.getLogger("entity_sync.brokers.nsq")

_HEARTBEAT = 4.0
"""Seconds between nsqd's heartbeats. Either end gives the other up after two without a sign, so a
stopped nsqd is noticed within 8 s, and an event loop that stalls for 5 s keeps its subscriptions."""
_FAREWELL = 1.0  # seconds for a close
_STALL = 0.5  # seconds a timer may be late before our own loop is suspected instead of nsqd
_MAX_READY = 2_500  # nsqd's own default limit


class Connection(asyncio.Protocol):
    """Made by `open`.

    Attributes:
        deliver: is given the bodies of messages, which are finished already.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.deliver: Callable[[list[bytes]], None] | None = None
        self._ended: Callable[[BrokerUnavailable], None] | None = None
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._gone = asyncio.Event()
        self._error: BrokerUnavailable | None = None
        self._frames = Frames()
        self._exchange = Exchange(PATIENCE)
        self._max_ready = 1
        self._flushing: asyncio.Handle | None = None
        self._heard = self._loop.time()
        self._timer = self._loop.call_at(self._heard + 2 * _HEARTBEAT, self._watch)

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Connection:
        """Connect, identify, encrypt and authenticate.

        Raises:
            BrokerUnavailable, OSError, ProtocolError: it cannot be reached, refuses, or is no nsqd.
            ConfigurationError: it wants a secret that we have not, or has no TLS while we want it.
        """
        connection = cls(endpoint)
        try:
            await connection._loop.create_connection(lambda: connection, endpoint.host, endpoint.port)
            await connection._shake_hands()
        except BaseException:
            connection.abort()
            raise
        return connection

    def when_ended(self, ended: Callable[[BrokerUnavailable], None]) -> None:
        """Have `ended` told why the connection ended, now if it has; never of `close` and `abort`."""
        self._ended = ended
        if self._error is not None:
            self._end(self._error)

    async def subscribe(self, topic: bytes, channel: bytes) -> None:
        """Return once nsqd confirmed; messages then come to `deliver`."""
        await self.request(protocol.subscribe(topic, channel))
        # The most that may be unfinished; with one at a time each message would cost a round trip.
        self._send(protocol.ready(self._max_ready))

    def request(self, command: bytes) -> asyncio.Future[bytes]:
        """Send a command; the future is its answer.

        Raises:
            BrokerUnavailable: here when the connection has ended, from the future when nsqd refuses,
                ends the connection, or does not answer in time.
        """
        self._check_open()
        self._send(command)
        return self._expect()

    def publish(self, topic: bytes, bodies: Sequence[bytes]) -> asyncio.Future[bytes]:
        """Publish; whatever one turn of the loop publishes to a topic is one command.

        Args:
            bodies: one part of `protocol.batches`.

        Raises:
            BrokerUnavailable: as `request`.
        """
        self._check_open()
        if self._exchange.is_idle and self._transport is not None:
            # There is nothing to join it with: another turn of the loop would be a delay for nothing.
            self._transport.write(protocol.publish(topic, bodies))
            return self._expect()
        self._flush_soon()
        return self._exchange.publish(topic, bodies)

    async def close(self) -> None:
        """Wait for the answers that are due and say goodbye, for a second at most."""
        self._ended = None
        try:
            async with asyncio.timeout(_FAREWELL):
                if self.deliver is not None:
                    self.deliver = _drop
                    await self.request(protocol.CLOSE)
                elif futures := self._exchange.futures:
                    await asyncio.wait(futures)
                if self._transport is not None:
                    self._error = self._error or self._closed()
                    self._transport.close()
                    await self._gone.wait()
        except (TimeoutError, BrokerUnavailable):
            pass  # a peer that does not answer is left without a goodbye
        finally:
            self.abort()
        await self._gone.wait()

    def abort(self) -> None:
        """Leave at once."""
        self._ended = None
        self._end(self._closed())
        if self._transport is None:
            self._gone.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)
        if self._error is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the loop: answers, heartbeats and messages."""
        self._heard = self._loop.time()
        try:
            frames = self._frames.feed(data)
            messages = [frame for frame in frames if isinstance(frame, Incoming)]
            if messages:
                self._take(messages)
            if len(messages) < len(frames):
                for frame in frames:
                    self._hear(frame)
        except protocol.ProtocolError as error:
            self._end(BrokerUnavailable(f"{self._endpoint}: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        reason = f": {exc}" if exc is not None else ""
        self._end(BrokerUnavailable(f"{self._endpoint} closed the connection{reason}"))
        self._gone.set()

    async def _shake_hands(self) -> None:
        tls, secret = self._endpoint.tls, self._endpoint.secret
        self._send(protocol.MAGIC)
        answer = protocol.features(await self.request(protocol.identify(_identity(is_tls=tls is not None))))
        limit = answer.get("max_rdy_count")
        if isinstance(limit, int):
            self._max_ready = max(1, min(_MAX_READY, limit))
        if tls is not None:
            if answer.get("tls_v1") is not True:
                raise ConfigurationError(
                    f"{self._endpoint} has no TLS: start it with --tls-cert and --tls-key"
                )
            await self._encrypt(tls)
        if answer.get("auth_required") is True:
            if secret is None:
                raise ConfigurationError(f"{self._endpoint} wants a secret: nsq://:SECRET@host:port")
            await self.request(protocol.auth(secret))

    async def _encrypt(self, tls: ssl.SSLContext) -> None:
        self._check_open()
        assert self._transport is not None
        if not self._frames.is_empty:
            raise protocol.ProtocolError("bytes in the clear where TLS should begin")
        upgraded = self._expect()
        try:
            name = self._endpoint.host
            transport = await self._loop.start_tls(self._transport, self, tls, server_hostname=name)
        except BaseException:
            upgraded.cancel()
            raise
        assert transport is not None
        self._transport = transport
        if self._error is not None:
            transport.abort()
        await upgraded

    def _take(self, messages: list[Incoming]) -> None:
        if self.deliver is None or self._transport is None:
            raise protocol.ProtocolError("a message without a subscription")
        # A message is a hint to load: finished before it is handled, since another copy would tell no more.
        if self._error is None:
            self._transport.write(protocol.finish([message.id for message in messages]))
        self.deliver([message.body for message in messages])

    def _hear(self, frame: Frame) -> None:
        if isinstance(frame, Incoming):
            return
        if isinstance(frame, Failure):
            if frame.is_fatal:
                self._exchange.answer(BrokerUnavailable(f"{self._endpoint} refuses: {frame.text[:200]}"))
                self._end(BrokerUnavailable(f"{self._endpoint} ended the connection: {frame.text[:200]}"))
            else:
                _log.debug("%s: %s", self._endpoint, frame.text[:200])
        elif frame.data == protocol.HEARTBEAT:
            self._send(protocol.NOP)
        elif not self._exchange.answer(frame.data):
            raise protocol.ProtocolError("an answer to nothing")

    def _expect(self) -> asyncio.Future[bytes]:
        answer = self._exchange.expect()
        if self._timer.when() > self._exchange.due:
            self._arm(self._exchange.due)
        return answer

    def _check_open(self) -> None:
        if self._error is not None:
            raise BrokerUnavailable(str(self._error))

    def _closed(self) -> BrokerUnavailable:
        return BrokerUnavailable(f"the connection to {self._endpoint} is closed")

    def _send(self, data: bytes) -> None:
        # No watermark is heeded: whoever publishes waits for an answer, and holds its payload anyway.
        self._exchange.send(data)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = None
        data = self._exchange.take()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
        if self._timer.when() > self._exchange.due and self._error is None:
            self._arm(self._exchange.due)

    def _arm(self, due: float) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_at(due, self._watch)

    def _watch(self) -> None:
        now = self._loop.time()
        silent = self._heard + 2 * _HEARTBEAT
        due = min(silent, self._exchange.due)
        if due > now:
            self._arm(due)
        elif now - self._timer.when() > _STALL:
            self._arm(now + _STALL)  # our loop stood still: what nsqd sent meanwhile is still to be read
        elif silent <= now:
            self._end(BrokerUnavailable(f"{self._endpoint} is silent for {now - self._heard:.1f} s"))
        else:
            self._end(BrokerUnavailable(f"{self._endpoint} did not answer within {PATIENCE:g} s"))

    def _end(self, error: BrokerUnavailable) -> None:
        self._timer.cancel()
        self._error = self._error or error
        self._exchange.fail(self._error)
        if self._transport is not None:
            self._transport.abort()
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended(self._error)


def _drop(_bodies: list[bytes]) -> None:
    """What still arrives while a subscription ends."""


def _identity(*, is_tls: bool) -> dict[str, Any]:
    name = socket.gethostname()
    return {
        "client_id": name.partition(".")[0],
        "hostname": name,
        "user_agent": "entity-sync",
        "feature_negotiation": True,
        "heartbeat_interval": int(_HEARTBEAT * 1_000),
        # Without this, nsqd keeps small messages for up to 250 ms unless the client is not ready for more.
        "output_buffer_size": -1,
        "tls_v1": is_tls,
    }
