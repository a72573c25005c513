"""The client's shell: one socket at a time, opened again whenever it ends."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random, SystemRandom
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from entity_sync.client.replica import Refusal, Replica
from entity_sync.client.subscription import Subscription
from entity_sync.clock import Clock, SystemClock
from entity_sync.core.v2 import SUBPROTOCOL
from entity_sync.errors import AccessDenied, ConnectionLost
from entity_sync.model import EntityKey

__all__ = ["Client", "connect"]

_log = logging.getLogger("entity_sync.client")
_FIRST_DELAY, _MAX_DELAY = 0.5, 30.0
_MAX_FRAME = 2**24
_Message = dict[str, Any]
Secret: TypeAlias = str | Callable[[], str | Awaitable[str | None] | None] | None


class Client:
    """A connection that is kept; made by `connect`."""

    def __init__(self, url: str, secret: Secret, clock: Clock, random: Random) -> None:
        self._url = url
        self._secret = secret
        self._clock = clock
        self._random = random
        self._replica = Replica()
        self._subscriptions: dict[EntityKey, list[Subscription]] = {}
        self._answers: dict[int, asyncio.Future[_Message]] = {}
        self._refs = 0
        self._outgoing: asyncio.Queue[_Message] | None = None
        self._is_introduced = False
        self._secret_ref: int | None = None
        self._stale_after = 15.0
        self._retry_after = 0.0
        self._ended: ConnectionLost | None = None

    def subscribe(self, entity: str, id: str | int | UUID) -> Subscription:
        """Watch a key from now on."""
        key = EntityKey(entity, str(id))
        subscription = Subscription(key, self._replica, self._check_open, self._unsubscribe)
        held = self._subscriptions.setdefault(key, [])
        held.append(subscription)
        if len(held) == 1:
            self._send(self._replica.subscribe(key))
        return subscription

    async def message(self, body: object) -> Any:
        """Send the application a message; returns its answer, None where it has none.

        Raises:
            Refusal: the application failed, or takes no messages.
            ConnectionLost: the connection ended before the answer; it may have arrived or not.
        """
        answer = await self._ask({"action": "message", "body": body})
        return answer.get("body")

    async def identify(self, secret: Secret) -> None:
        """Be somebody else from now on, also after a reconnect.

        Raises:
            AccessDenied: the server refused; every subscription is denied until another secret.
        """
        self._secret = secret
        await self._identify()

    async def _identify(self) -> None:
        secret = await _value(self._secret)
        self._replica.discard()
        try:
            await self._ask({"action": "secret", "body": secret})
        except Refusal as refusal:
            raise AccessDenied(str(refusal)) from None

    def _unsubscribe(self, subscription: Subscription) -> None:
        held = self._subscriptions.get(subscription.key, [])
        if subscription in held:
            held.remove(subscription)
            if not held:
                del self._subscriptions[subscription.key]
                self._send(self._replica.unsubscribe(subscription.key))

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._ended

    # The socket

    async def _keep(self, opened: asyncio.Future[None]) -> None:
        """Connect and connect again; ``opened`` tells how the first try went."""
        delay = _FIRST_DELAY
        while True:
            try:
                async with open_socket(
                    self._url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, max_size=_MAX_FRAME
                ) as socket:
                    self._retry_after = 0.0
                    await self._use(socket, opened)
                    delay = _FIRST_DELAY
            except (OSError, InvalidHandshake, InvalidURI) as error:
                _log.info("cannot connect: %s", error)
                if not opened.done():
                    opened.set_exception(ConnectionLost(1006, str(error)))
                    return
            finally:
                self._lose()
            await self._clock.sleep(self._retry_after + self._random.uniform(0.0, delay))
            delay = min(_MAX_DELAY, delay * 2)

    async def _use(self, socket: ClientConnection, opened: asyncio.Future[None]) -> None:
        self._outgoing = asyncio.Queue()
        working = [
            asyncio.create_task(self._write(socket, self._outgoing)),
            asyncio.create_task(self._introduce(opened)),
        ]
        try:
            while True:
                self._receive(await self._next_frame(socket))
        except ConnectionClosed as closed:
            _log.info("connection closed: %s", closed)
            if not opened.done():
                opened.set_exception(_lost(closed))
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _write(self, socket: ClientConnection, outgoing: asyncio.Queue[_Message]) -> None:
        with suppress(ConnectionClosed):  # the reader hears of it too
            while True:
                await socket.send(msgspec.json.encode(await outgoing.get()).decode())

    async def _introduce(self, opened: asyncio.Future[None]) -> None:
        try:
            if self._secret is not None:
                await self._identify()
        except AccessDenied as error:
            if not opened.done():
                opened.set_exception(error)
                return
            _log.warning("the secret is refused: %s", error)
        self._is_introduced = True
        for message in self._replica.opened():
            self._send(message)
        if not opened.done():
            opened.set_result(None)

    async def _next_frame(self, socket: ClientConnection) -> str | bytes:
        waiting = asyncio.ensure_future(socket.recv())
        timer = self._clock.call_later(self._stale_after, self._fall_silent)
        try:
            return await waiting
        finally:
            timer.cancel()
            waiting.cancel()

    def _fall_silent(self) -> None:
        self._replica.silent(True)
        self._tell()

    def _receive(self, frame: str | bytes) -> None:
        decoded = msgspec.json.decode(frame)
        self._replica.silent(False)
        for message in decoded if isinstance(decoded, list) else [decoded]:
            self._take(message)
        self._tell()

    def _take(self, message: _Message) -> None:
        event, ref = message.get("event"), message.get("ref")
        if event == "welcome":
            self._stale_after = message["stale_ms"] / 1_000
        elif event == "goodbye":
            self._retry_after = message["retry_after_ms"] / 1_000
        elif ref is not None and ref == self._secret_ref:
            self._secret_ref = None
            self._replica.identified()
        for answer in self._replica.receive(message):
            self._send(answer)
        future = self._answers.pop(ref, None) if isinstance(ref, int) else None
        if future is None or future.done():
            return
        if event == "error":
            future.set_exception(Refusal(message["code"], message["text"], bool(message["retryable"])))
        else:
            future.set_result(message)

    async def _ask(self, message: _Message) -> _Message:
        self._check_open()
        if self._outgoing is None:
            raise ConnectionLost(1006, "not connected")
        self._refs += 1
        ref = self._refs
        if message["action"] == "secret":
            self._secret_ref = ref
        answer: asyncio.Future[_Message] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        self._outgoing.put_nowait({**message, "ref": ref})
        try:
            return await answer
        finally:
            self._answers.pop(ref, None)

    def _send(self, message: _Message) -> None:
        """Send what is said again on the next connection if there is none now."""
        if self._outgoing is not None and self._is_introduced:
            self._outgoing.put_nowait(message)

    def _lose(self) -> None:
        self._outgoing, self._is_introduced, self._secret_ref = None, False, None
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionLost(1006, "the connection ended before the answer"))
        self._replica.silent(True)
        self._tell()

    def _end(self) -> None:
        self._ended = ConnectionLost(1000, "closed by this program")
        for held in self._subscriptions.values():
            for subscription in held:
                subscription.wake()

    def _tell(self) -> None:
        """Wake whoever waits for the keys that differ, once for all that came together."""
        news, self._replica.news = self._replica.news, {}
        for key in news:
            for subscription in self._subscriptions.get(key, ()):
                subscription.wake()


@asynccontextmanager
async def connect(
    url: str, *, secret: Secret = None, clock: Clock | None = None, random: Random | None = None
) -> AsyncGenerator[Client, None]:
    """Connect, and stay connected while inside.

    After a drop the client comes back by itself, after a random wait that doubles up to 30 s,
    and resumes by version: what it shows never gets older.

    Args:
        url: of a v2 server, ``ws://`` or ``wss://``.
        secret: who the client is; a function (or coroutine function) is asked at each connection.
        clock: where time comes from; for tests.
        random: where chance comes from; for tests.

    Raises:
        ConnectionLost: the first connection failed.
        AccessDenied: the secret is refused.
    """
    client = Client(url, secret, clock or SystemClock(), random or SystemRandom())
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    keeping = asyncio.create_task(client._keep(opened))
    try:
        await opened
        yield client
    finally:
        client._end()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def _lost(closed: ConnectionClosed) -> ConnectionLost:
    frame = closed.rcvd
    return ConnectionLost(1006, "") if frame is None else ConnectionLost(frame.code, frame.reason)


async def _value(secret: Secret) -> str | None:
    value = secret() if callable(secret) else secret
    return await value if inspect.isawaitable(value) else value
