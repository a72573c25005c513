"""`EntitySync`: where an application declares its entities, and all layers are put together."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random, SystemRandom
from typing import Any, Self

from entity_sync import environment
from entity_sync.brokers.base import Broker
from entity_sync.brokers.registry import broker_from
from entity_sync.clock import Clock, SystemClock
from entity_sync.core.signing import Signing
from entity_sync.core.tags import canonical_tags
from entity_sync.declarations import Declarations, check_origin
from entity_sync.entity import Principal
from entity_sync.errors import ConfigurationError
from entity_sync.hub.auditor import Auditor
from entity_sync.hub.captures import Capture
from entity_sync.hub.node import Application, Node
from entity_sync.life import Life
from entity_sync.loading.revision import check_revision
from entity_sync.model import EntityKey, Named, Receipt, Tags, ViewInfo
from entity_sync.server.asgi import serve_asgi
from entity_sync.settings import Settings
from entity_sync.transactions import warn_inside

__all__ = ["EntitySync"]


class EntitySync(Declarations[Principal]):
    """The application's entities, an ASGI application that serves them, and `notify`.

    Build it once per process, register everything, then start it: by ``lifespan``, by
    ``async with``, or by serving it as an ASGI application of its own.
    """

    def __init__(
        self,
        broker: str | Broker | None = None,
        *,
        settings: Settings | None = None,
        origins: Iterable[str] = (),
        captures: Sequence[Capture] = (),
        auditor: Auditor | None = None,
        topic_prefix: str | None = None,
        signing: Signing | None = None,
        lifespan: Callable[[EntitySync], AbstractAsyncContextManager[Any]] | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        """
        Args:
            broker: a URL, an adapter, or None for ``$ENTITY_SYNC_BROKER``, else ``memory://``.
            settings: limits and timings.
            origins: origins besides the asked host itself whose pages may connect, for example
                ``https://app.example``; ``*`` allows every page of the web, and warns.
            captures: what notices changes that nobody notifies.
            auditor: looks for notifies that were forgotten, at the price of a few loads; None for nobody.
            topic_prefix: begins every topic on the broker, so that applications can share one; the
                same on every node and publisher. None for ``$ENTITY_SYNC_TOPIC_PREFIX``, else "".
            signing: proves to the other nodes who wrote a message. None for the keys in
                ``$ENTITY_SYNC_SIGNING_KEYS``, else whoever can publish on the broker is trusted.
            lifespan: the application's own resources where we are the server: entered before
                the first connection, left after the drain.
            clock: where time comes from; for tests.
            random: where chance comes from; for tests.

        Raises:
            ConfigurationError: origins is a str, an origin is none, or the prefix cannot begin a topic.
            UnknownBroker: nothing answers to the URL's scheme.
        """
        super().__init__(environment.envelope(topic_prefix, signing))
        self._broker = broker if broker is not None else environment.broker_url()
        self._settings = settings or Settings()
        if isinstance(origins, str):
            raise ConfigurationError(f"origins is a list: origins=[{origins!r}]")
        self._origins = frozenset(check_origin(origin) for origin in origins)
        self._captures = tuple(captures)
        self._auditor = auditor
        self._clock = clock or SystemClock()
        self._random = random or SystemRandom()
        self._life = Life(lifespan)
        if isinstance(self._broker, str):
            broker_from(self._broker)  # a wrong URL fails here, not at start

    # Changes

    async def notify(
        self,
        entity: str | Named,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> Receipt:
        """Say that these keys changed, after the commit that changed them.

        Args:
            entity: a registered entity, by name or handle, or one that is named in a ``rows=``.
            ids: which of it.
            tags: what live queries (`Reads`) may have read them by: tag → value, or a list of old and
                new values. A tag that is left out matches every live query, no tags at all too.
            revision: the application's own number that the keys have since the commit, for entities with
                ``revision=``; leave it out for a deletion.

        Returns:
            ``accepted`` once the broker has it, ``deferred`` if it is kept until the broker
            returns; local clients are served either way.

        Raises:
            UnknownEntity, BadId, ValueError: nothing was notified; ValueError names the tag or the revision.
            NotRunning: outside the lifespan.
        """
        keys, said = self._changed(entity, ids, tags, revision)
        return await self._life.node.notify(keys, said, revision)

    def notify_soon(
        self,
        entity: str | Named,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> concurrent.futures.Future[Receipt]:
        """`notify` from any thread, and from code that is not async; returns at once.

        Raises:
            UnknownEntity, BadId, ValueError, NotRunning: as for `notify`; later failures are in the
                future.
        """
        keys, said = self._changed(entity, ids, tags, revision)
        node, loop = self._life.node, self._life.loop
        return asyncio.run_coroutine_threadsafe(node.notify(keys, said, revision), loop)

    def notify_together(
        self, changed: Sequence[tuple[str | Named, Sequence[object], Mapping[str, Any] | None]], token: str
    ) -> concurrent.futures.Future[Receipt]:
        """`notify_soon` of all that one commit changed: of each its entity, ids and tags.

        Args:
            token: names all of them in the receipt, and nothing else; 64 characters at most.

        Raises:
            UnknownEntity, BadId, ValueError, NotRunning: as for `notify_soon`; nothing was notified.
        """
        said = [self._changed(entity, ids, tags, None) for entity, ids, tags in changed]
        node, loop = self._life.node, self._life.loop
        return asyncio.run_coroutine_threadsafe(node.notify_together(said, token), loop)

    def _changed(
        self, entity: str | Named, ids: Sequence[object], tags: Mapping[str, Any] | None, revision: int | None
    ) -> tuple[list[EntityKey], Tags | None]:
        keys = self.keys_of(entity, ids)
        if revision is not None:
            check_revision(revision)
        warn_inside(keys[0].entity, debug=self._life.loop.get_debug())
        return keys, None if tags is None else canonical_tags(tags)

    # Rights

    async def revoke(self, principal_key: str) -> Receipt:
        """End this principal on every node: after a logout, or when an account is closed.

        What its connections watch is denied; they stay open, and a new secret is authenticated afresh. A
        Python client sends none by itself: it shows nothing until its program calls `Client.identify`, or
        until it connects again, when its secret function is asked.

        Returns:
            as `notify`.

        Raises:
            NotRunning: outside the lifespan.
            TypeError: the key is no str; nobody's sign-in was ended.
        """
        return await self._life.node.revoke(principal_key)

    async def reauthorize(self, principal_key: str) -> Receipt:
        """Ask ``authorize`` again about all that this principal watches, on every node.

        It is asked with the principal that ``authenticate`` returned at sign-in, so it has to look up afresh
        what may have changed, and ``per=`` is not evaluated again: where the principal itself changed, its
        audience for one, `revoke` it and have its client sign in again.

        Returns, raises: as `revoke`.
        """
        return await self._life.node.reauthorize(principal_key)

    # Watching

    def watched(self) -> list[ViewInfo]:
        """What this node's clients watch at this moment, for operators; other nodes have their own.

        In the order of entity, id and audience. It loads nothing and waits for nothing, but takes a few
        microseconds for each view, so ask a few times a second at most, in the event loop that runs it.

        Raises:
            NotRunning: outside the lifespan.
        """
        return self._life.node.hub.watched()

    # Life

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncGenerator[None, None]:
        """Run while inside: ``FastAPI(lifespan=sync.lifespan)``; nested uses share one start."""
        async with self:
            yield

    async def __aenter__(self) -> Self:
        await self._life.enter(self)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._life.leave()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The ASGI application: WebSockets at exactly its mount point, and its own lifespan."""
        await serve_asgi(self, scope, receive, send)

    @property
    def is_running(self) -> bool:
        """Whether this process has started it."""
        return self._life.is_running

    @property
    def node(self) -> Node:
        """The running node, for doors and tools.

        Raises:
            NotRunning: it is not started.
        """
        return self._life.node

    def application(self) -> Application:
        """What was declared, as a node needs it.

        Raises:
            ConfigurationError: it cannot work together.
        """
        self.check(self._captures)
        return Application(
            catalog=self._catalog,
            settings=self._settings,
            clock=self._clock,
            random=self._random,
            authenticate=self._authenticate,
            on_message=self._on_message,
            captures=self._captures,
            auditor=self._auditor,
            origins=self._origins,
            envelope=self._envelope,
        )

    def broker(self) -> Broker:
        """The broker it was given, or a new adapter for the URL it was given."""
        return broker_from(self._broker) if isinstance(self._broker, str) else self._broker
