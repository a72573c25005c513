"""Notifying from processes that serve no sockets: scripts, workers, management commands."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from entity_sync import environment
from entity_sync.brokers.base import Broker
from entity_sync.brokers.registry import broker_from
from entity_sync.core.announce import Announcer
from entity_sync.core.control import Beat
from entity_sync.core.envelope import CONTROL
from entity_sync.core.signing import Signing
from entity_sync.core.tags import canonical_tags
from entity_sync.errors import BrokerUnavailable, NotRunning
from entity_sync.loading.ids import canonical_id
from entity_sync.loading.loader import check_name
from entity_sync.model import Change, EntityKey, Named, Receipt, Source, name_of

__all__ = ["AsyncPublisher", "Publisher"]

_BATCH = 500
_PAUSE = 0.025  # seconds between full batches: faster, and the nodes' queues in the broker may overflow
_FIRST_DELAY, _MAX_DELAY = 0.05, 1.0
_QUIET_AFTER = 1.0  # seconds
_LAST_WORDS = 2.0  # seconds that a beat, the bye or closing may take
_LEAST = 1.0  # seconds that a try may take, however short the patience
_T = TypeVar("_T")
_log = logging.getLogger("entity_sync.publisher")


class AsyncPublisher:
    """Tells the nodes behind a broker that keys changed; ``async with`` opens and closes it."""

    def __init__(
        self,
        broker: str | Broker,
        *,
        topic_prefix: str | None = None,
        signing: Signing | None = None,
        patience: float = 10.0,
    ) -> None:
        """
        Args:
            broker: a URL or an adapter.
            topic_prefix, signing: as the nodes' ``EntitySync`` has them, from the same variables of
                the environment where None.
            patience: seconds a notify tries again while the broker is away, or waits for those before it
                that do; of many keys each 500 have them.

        Raises:
            UnknownBroker, MissingExtra: the URL cannot be served.
            ConfigurationError: the prefix cannot begin a topic.
        """
        self._broker = broker_from(broker) if isinstance(broker, str) else broker
        self._envelope = environment.envelope(topic_prefix, signing)
        self._patience = patience
        self._announcer = Announcer(Source("", ""))
        self._is_open = False
        self._is_connected = False
        self._count = 0
        self._turn = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._announcer = Announcer(Source(os.urandom(8).hex(), os.urandom(8).hex()))
        self._turn = asyncio.Lock()  # the last one belongs to the loop of then
        self._is_open = True
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._is_open = False
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        async with self._turn:  # what another task publishes now is told by the bye
            try:
                if self._is_connected and self._announcer.has_spoken:
                    with suppress(BrokerUnavailable, TimeoutError):  # then the nodes find out by themselves
                        async with asyncio.timeout(_LAST_WORDS):
                            await self._say(self._announcer.bye(_now()))
            finally:
                await self._close()

    async def notify(
        self,
        entity: str | Named,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Say that these keys changed, after the commit that changed them.

        Args:
            entity: by name or handle.
            ids: str, int or UUID, as the entity's loader takes them.
            tags: as for `EntitySync.notify`.

        Returns:
            a receipt, always ``accepted``: what is not, raises, since nothing outlives a script.

        Raises:
            ConfigurationError, BadId, ValueError: the name, an id or a tag cannot be right.
            BrokerUnavailable: the broker did not accept all keys within the patience.
            NotRunning: outside ``async with``.
        """
        if not self._is_open:
            raise NotRunning("this publisher is not open: use it in a with statement")
        entity = name_of(entity)
        check_name(entity)
        check_name(self._envelope.topic(entity))
        keys = [EntityKey(entity, canonical_id(entity, id)) for id in ids]
        if not keys:
            raise TypeError("notify needs at least one id")
        said = None if tags is None else canonical_tags(tags)
        self._count += 1
        token = f"{self._announcer.source.epoch}.{self._count}"
        changes = [Change(key, tags=said, causes=(token,)) for key in keys]
        for start in range(0, len(changes), _BATCH):
            await self._tell(entity, changes[start : start + _BATCH])
        return Receipt("accepted", token)

    async def _tell(self, entity: str, changes: list[Change]) -> None:
        """Publish a batch, when all that came before it has had its turn."""
        deadline, turn = _now() + self._patience, self._turn
        try:
            async with asyncio.timeout_at(deadline):
                await turn.acquire()
        except TimeoutError:
            raise BrokerUnavailable("the broker did not accept in time what was to go before") from None
        try:
            batch = self._announcer.numbered(changes, _now())
            payloads = [self._envelope.seal(entity, change) for change in batch]
            await self._publish(self._envelope.topic(entity), payloads, deadline)
            if len(batch) == _BATCH:
                await asyncio.sleep(_PAUSE)
        finally:
            turn.release()

    async def _publish(self, topic: str, payloads: list[bytes], deadline: float) -> None:
        loop, delay = asyncio.get_running_loop(), _FIRST_DELAY
        while True:
            if not self._is_open:
                raise NotRunning("this publisher was closed before the broker accepted")
            try:
                async with asyncio.timeout_at(max(deadline, loop.time() + _LEAST)):
                    if not self._is_connected:
                        await self._broker.connect()
                        self._is_connected = True
                    await self._broker.publish(topic, payloads)
                return
            except (BrokerUnavailable, TimeoutError) as error:
                await self._disconnect()
                if loop.time() + delay > deadline:
                    raise BrokerUnavailable(str(error) or "the broker did not accept in time") from None
            await asyncio.sleep(delay)
            delay = min(_MAX_DELAY, delay * 2)

    async def _beat(self) -> None:
        """Tell the last numbers when nothing follows: a node could not see the loss of a last message."""
        while True:
            await asyncio.sleep(_QUIET_AFTER)
            async with self._turn:
                beats = self._announcer.quiet(_now(), _QUIET_AFTER) if self._is_connected else []
                try:
                    async with asyncio.timeout(_LAST_WORDS):
                        await self._say(beats)
                except Exception as error:  # noqa: BLE001 - an adapter's driver may raise anything
                    _log.debug("a beat was not taken: %r", error)
                    await self._disconnect()

    async def _say(self, beats: Iterable[Beat]) -> None:
        for beat in beats:
            await self._broker.publish(self._envelope.topic(CONTROL), [self._envelope.seal(CONTROL, beat)])

    async def _disconnect(self) -> None:
        if self._is_connected:
            await self._close()

    async def _close(self) -> None:
        self._is_connected = False
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._broker.close()


class Publisher:
    """`AsyncPublisher` for code that is not async; usable from several threads."""

    def __init__(
        self,
        broker: str | Broker,
        *,
        topic_prefix: str | None = None,
        signing: Signing | None = None,
        patience: float = 10.0,
    ) -> None:
        """As `AsyncPublisher`."""
        self._inner = AsyncPublisher(broker, topic_prefix=topic_prefix, signing=signing, patience=patience)
        self._notifying: set[Future[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._submitting = threading.Lock()  # what is handed to the loop is known to whoever closes it

    def __enter__(self) -> Self:
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=loop.run_forever, name="entity-sync-publisher", daemon=True)
        self._thread.start()
        self._loop, self._pid = loop, os.getpid()
        self._run(self._inner.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if self._pid != os.getpid():
            self._loop = self._thread = None
            return  # inherited by a fork, where its thread is not
        with self._submitting:
            self._loop = self._thread = None
        try:
            asyncio.run_coroutine_threadsafe(self._close(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def notify(
        self,
        entity: str | Named,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """`AsyncPublisher.notify`, returning when the broker accepted."""
        return self._run(self._inner.notify(entity, *ids, tags=tags))

    async def _close(self) -> None:
        for notifying in list(self._notifying):  # and nothing of the broker's driver: the bye needs it
            notifying.cancel()
        await asyncio.sleep(0)
        await self._inner.__aexit__()

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        is_ours = self._pid == os.getpid()  # where not, a thread that is not here may hold the lock
        with self._submitting if is_ours else nullcontext():
            loop = self._loop
            if loop is None or not is_ours:
                coroutine.close()
                raise NotRunning(
                    "this publisher is not open in this process: use it in a with statement, after any fork"
                )
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
            self._notifying.add(future)
        try:
            return future.result()
        except CancelledError:
            raise NotRunning("this publisher was closed before the broker accepted") from None
        finally:
            self._notifying.discard(future)


def _now() -> float:
    return asyncio.get_running_loop().time()
