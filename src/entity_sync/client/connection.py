"""The client's shell: one socket at a time, opened again whenever it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from random import Random, SystemRandom
from typing import Any, Never
from uuid import UUID

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from entity_sync.client.incoming import Reply, Unreadable
from entity_sync.client.link import Link, reason_of
from entity_sync.client.replica import Replica
from entity_sync.client.requests import check
from entity_sync.client.secret import Identity, Secret
from entity_sync.client.subscription import Subscription
from entity_sync.clock import Clock, SystemClock
from entity_sync.core.v2 import SUBPROTOCOL
from entity_sync.errors import ConnectionLost, EntitySyncError
from entity_sync.loading.ids import id_text
from entity_sync.model import EntityKey

__all__ = ["Client", "Secret", "connect"]

_log = logging.getLogger("entity_sync.client")
_FIRST_DELAY, _MAX_DELAY = 0.5, 30.0
_SETTLED = 10.0  # seconds a connection must have lived for the next delay to be the first again
_MAX_FRAME = 2**24
_MAX_MESSAGES = 32
_CLOSE_TIMEOUT = 2.0


class Client:
    """A connection that is kept; made by `connect`."""

    def __init__(self, url: str, secret: Secret, clock: Clock, random: Random, *, receipts: bool) -> None:
        self._url = url
        self._identity = Identity(secret, clock, random)
        self._clock = clock
        self._random = random
        self._replica = Replica(receipts=receipts)
        self._subscriptions: dict[EntityKey, list[Subscription]] = {}
        self._link: Link | None = None
        self._messages = asyncio.Semaphore(_MAX_MESSAGES)
        self._ended: ConnectionLost | None = None

    def subscribe(self, entity: str, id: str | int | UUID) -> Subscription:
        """Watch a key from now on, until the subscription or the client is closed.

        Raises:
            BadId: the id is no str, int or UUID, or no server could read such a key; a server's refusal comes
                by the subscription.
            ConnectionLost: the client is closed.
        """
        if self._ended is not None:
            raise self._ended
        key = EntityKey(entity, id_text(entity, id))
        check(key)
        subscription = Subscription(key, self._replica, self._unsubscribe)
        self._subscriptions.setdefault(key, []).append(subscription)
        self._replica.watch(key)
        self._hurry()
        return subscription

    async def message(self, body: object) -> Any:
        """Send the application a message; returns its answer, None where it has none.

        32 may be under way; further ones wait. Giving up, as by ``asyncio.timeout(5)``, takes back a message
        that was not sent yet.

        Raises:
            Refusal: the application failed, takes no messages, or would not read so long a one.
            ConnectionLost: there is no connection now, or it ended before the answer; the message
                may have arrived or not.
        """
        async with self._messages:
            answer = await self._connected().ask("message", body)
        return answer.body if isinstance(answer, Reply) else None

    async def reached(self, token: str) -> None:
        """Return once a subscription shows a state that covers the notify with this token.

        The application hands out the token of its `Receipt`, with the answer to a request for example; what
        was shown before counts. Of several subscriptions that the change concerns the first one counts;
        `Subscription.reached` is about one of them.

        Bound the wait, as by ``asyncio.timeout(5)``, and then trust what is shown: although it covers the
        change, the token may not come, where it was notified long before (1,024 notifies of its entity)
        anybody at the server watched with receipts what it concerns, where it was one of more than 8 of a key
        that were kept while the broker was away or of more than 64 that one load covers, or where its message
        was lost and all was loaded again. Nor does it come where it concerns nothing that is watched.

        Raises:
            ConnectionLost: the client is closed, or was closed meanwhile.
            RuntimeError: the client was not connected with ``receipts=True``.
        """
        self._replica.check_receipts()
        await self._replica.receipts.reached(token)

    async def identify(self, secret: Secret) -> None:
        """Be somebody else from now on, also after a reconnect.

        Until the server has answered, subscriptions show what they hold as stale, also while a function is
        still being asked. A function that has not answered yet when the next call gives another secret is
        cancelled: the last call counts.

        Giving up, as by ``asyncio.timeout(5)``, takes back nothing: the client goes on by itself, and asks a
        function that had not answered, or that raised, again and again until it does.

        Raises:
            AccessDenied: the server refused; every subscription is denied until another secret.
            Refusal: the server could not tell; every subscription is denied until another secret. Or it
                would not read so long a one (``too_large``); all is stale until another secret.
            ConnectionLost: there is no connection now; the secret is used as soon as there is one.
            Exception: whatever the function raises.
        """
        self._identity.change(secret)
        link = self._connected()
        self._replica.change()
        self._tell()
        await self._identity.introduce(link)

    def _connected(self) -> Link:
        if self._ended is not None:
            raise self._ended
        if self._link is None or not self._link.is_introduced:
            raise ConnectionLost(1006, "not connected at present")
        return self._link

    def _hurry(self) -> None:
        if self._link is not None:
            self._link.hurry()

    def _unsubscribe(self, subscription: Subscription) -> None:
        held = self._subscriptions[subscription.key]
        held.remove(subscription)
        if not held:
            del self._subscriptions[subscription.key]
            self._replica.forget(subscription.key)
            self._hurry()

    # The socket

    async def _keep(self, opened: asyncio.Future[None]) -> None:
        """Connect and connect again; ``opened`` tells how the first try went."""
        delay = _FIRST_DELAY
        while True:
            began = self._clock.now()
            pause = await self._live(opened)
            if self._clock.now() - began >= _SETTLED:
                delay = _FIRST_DELAY
            await self._clock.sleep(pause + self._random.uniform(0.0, delay))
            delay = min(_MAX_DELAY, delay * 2)

    async def _live(self, opened: asyncio.Future[None]) -> float:
        """One connection from try to end; returns the seconds the server wants the next to wait."""
        try:
            async with open_socket(
                self._url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                max_size=_MAX_FRAME,
                close_timeout=_CLOSE_TIMEOUT,
            ) as socket:
                self._link = Link(socket, self._replica, self._clock, self._tell)
                await self._use(socket, self._link, opened)
        except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed, EntitySyncError) as error:
            _log.info("the connection ended: %s", reason_of(error, self._url))
            _fail(opened, error, self._url)
        except Exception as error:  # noqa: BLE001 - the program's secret function may raise anything
            # The text may hold the secret: only whoever asks for debugging output gets it.
            _log.warning("the connection is given up: %s", type(error).__name__)
            _log.debug("the connection is given up", exc_info=error)
            _fail(opened, error, self._url)
        finally:
            link, self._link = self._link, None
            if link is not None:
                link.lost()
            self._replica.silent(True)
            self._tell()
        return 0.0 if link is None else link.retry_after

    async def _use(self, socket: ClientConnection, link: Link, opened: asyncio.Future[None]) -> None:
        if socket.subprotocol != SUBPROTOCOL:
            raise Unreadable(f"the server does not speak {SUBPROTOCOL}")
        self._replica.opened()
        await _until_one_fails(link.read(), link.write(), self._open(link, opened))

    async def _open(self, link: Link, opened: asyncio.Future[None]) -> None:
        await link.welcomed()
        await self._identity.begin(link, is_first=not opened.done())
        link.introduce()
        if not opened.done():
            opened.set_result(None)
        await self._identity.renew(link)

    def _tell(self) -> None:
        """Wake whoever watches a key that differs, once for all that came together."""
        refused, self._replica.refused = self._replica.refused, {}
        for key, refusal in refused.items():
            for subscription in self._subscriptions.pop(key, ()):
                subscription.end(refusal)
        news, self._replica.news = self._replica.news, {}
        for key in news:
            for subscription in self._subscriptions.get(key, ()):
                subscription.wake()

    def _end(self) -> None:
        """There is no more connection."""
        self._ended = ConnectionLost(1000, "closed by this program")
        for held in self._subscriptions.values():
            for subscription in held:
                subscription.end(self._ended)
        self._subscriptions.clear()
        self._replica.receipts.end(self._ended)


@asynccontextmanager
async def connect(
    url: str,
    *,
    secret: Secret = None,
    receipts: bool = False,
    clock: Clock | None = None,
    random: Random | None = None,
) -> AsyncGenerator[Client, None]:
    """Connect, and stay connected while inside.

    After a drop the client comes back by itself, after a random wait that doubles up to 30 s,
    and resumes by version: what it shows never gets older.

    Args:
        url: of a v2 server, ``ws://`` or ``wss://``.
        secret: who the client is; a function (or coroutine function) is asked at each connection, and
                whenever the server says that the secret is about to expire: then, if it raises, again and
                again until it does not.
        receipts: learn which notifies a state covers, for `Client.reached` and `Subscription.reached`.
        clock: where time comes from; for tests.
        random: where chance comes from; for tests.

    Raises:
        ConnectionLost: the first connection failed.
        AccessDenied: the secret is refused.
        Refusal: the server could not tell whether the secret is right.
    """
    client = Client(url, secret, clock or SystemClock(), random or SystemRandom(), receipts=receipts)
    opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    keeping = asyncio.create_task(client._keep(opened))
    try:
        await opened
        yield client
    finally:
        client._end()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def _until_one_fails(*coroutines: Coroutine[Any, Any, None]) -> Never:
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.cancelled():  # by itself: a plain secret function is called in a task of ours
                raise ConnectionLost(1006, "the secret function cancelled its task")
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise RuntimeError("reading and writing end by an exception")


def _fail(opened: asyncio.Future[None], error: Exception, url: str) -> None:
    if opened.done():
        return
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        error = ConnectionLost(error.rcvd.code, error.rcvd.reason)
    elif isinstance(error, OSError | InvalidHandshake | InvalidURI | ConnectionClosed | Unreadable):
        error = ConnectionLost(1006, reason_of(error, url))
    opened.set_exception(error)
