"""`EntitySync`: where an application declares its entities, and all layers are put together."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random, SystemRandom
from typing import Any, Self, TypeVar

from entity_sync import environment
from entity_sync.brokers.base import Broker
from entity_sync.brokers.registry import broker_from
from entity_sync.clock import Clock, SystemClock
from entity_sync.core.signing import Signing
from entity_sync.core.tags import canonical_tags
from entity_sync.declaring import check_audiences, check_names, check_origin, coroutine_function
from entity_sync.entity import Entity
from entity_sync.errors import ConfigurationError
from entity_sync.hub.admission import Authenticate
from entity_sync.hub.node import Application, Capture, Node, OnMessage
from entity_sync.life import Life
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Authorize, Loader
from entity_sync.loading.rows import RowsOf
from entity_sync.model import Audience, EntityKey, Receipt, Tags
from entity_sync.server.asgi import serve_asgi
from entity_sync.settings import Settings
from entity_sync.transactions import warn_inside

__all__ = ["EntitySync"]

_Authenticate = TypeVar("_Authenticate", bound=Callable[..., Any])
_OnMessage = TypeVar("_OnMessage", bound=Callable[..., Any])


class EntitySync:
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
            topic_prefix: begins every topic on the broker, so that applications can share one; the
                same on every node and publisher. None for ``$ENTITY_SYNC_TOPIC_PREFIX``, else "".
            signing: proves to the other nodes who wrote a message. None for the keys in
                ``$ENTITY_SYNC_SIGNING_KEYS``, else whoever can publish on the broker is trusted.
            lifespan: the application's own resources where we are the server: entered before
                the first connection, left after the drain.
            clock: where time comes from; for tests.
            random: where chance comes from; for tests.

        Raises:
            ConfigurationError: an origin is no origin, or the prefix cannot begin a topic.
            UnknownBroker: nothing answers to the URL's scheme.
        """
        self._broker = broker if broker is not None else environment.broker_url()
        self._settings = settings or Settings()
        self._origins = frozenset(check_origin(origin) for origin in origins)
        self._captures = tuple(captures)
        self._envelope = environment.envelope(topic_prefix, signing)
        self._clock = clock or SystemClock()
        self._random = random or SystemRandom()
        self._catalog = Catalog()
        self._authenticate: Authenticate | None = None
        self._on_message: OnMessage | None = None
        self._life = Life(lifespan)
        if isinstance(self._broker, str):
            broker_from(self._broker)  # a wrong URL fails here, not at start

    # Declaring

    def entity(
        self,
        name: str,
        *,
        per: Callable[[Any], Audience] | None = None,
        public: bool = False,
        authorize: Authorize | None = None,
        rows: tuple[str, str | Callable[[Any], object]] | None = None,
        batch: int | None = None,
        min_interval: float = 0.0,
        refresh_every: float | None = None,
        timeout: float = 10.0,
    ) -> Callable[[Callable[..., Any]], Entity]:
        """Register a loader under an entity's name.

        The loader takes ``(id)``, and one load serves every viewer, or ``(id, audience)``, and
        one load serves all whose audience is equal. It returns one value, None when the key does
        not exist, or a list; or it yields: values, `Row` with keys of their own, and `Reads`. It must
        read afresh: no cache, no transaction opened earlier.

        Args:
            name: 1 to 64 of ``A-Z a-z 0-9 _ . -``.
            per: makes the audience of a principal; the principal's key if None.
            public: every principal may see it.
            authorize: ``(principal, key) -> bool``, async or quick: whether they may see it. Asked before
                anything is loaded, whenever who they are changes, and every ``Settings.authorize_ttl``;
                raising means no. With ``authenticate``, an ``(id)`` loader needs this or ``public``.
            rows: makes every plain element a row of its own: the entity it is one of, and where its id
                is: a member's or attribute's name, or a function of the element.
            batch: the loader takes up to so many ids at once, those that are wanted in one turn of the
                loop, and returns a mapping: a missing id is gone, and a value may be an exception.
            min_interval: seconds between two loads of one key that changes caused; the last change always
                leads to one.
            refresh_every: seconds after which what is watched is loaded again without any notify.
            timeout: seconds a load may take.

        Raises:
            ConfigurationError: name, signature or id annotation cannot work.
        """

        def register(function: Callable[..., Any]) -> Entity:
            self._refuse_while_running(f"entity {name!r}")
            loader = Loader.of(
                name,
                function,
                per=per,
                public=public,
                authorize=authorize,
                timeout=timeout,
                rows=None if rows is None else RowsOf(*rows),
                batch=batch,
                min_interval=min_interval,
                refresh_every=refresh_every,
            )
            check_names(loader, self._envelope)
            self._catalog.add(loader)
            return Entity(self, name, function)

        return register

    def authenticate(self, function: _Authenticate) -> _Authenticate:
        """Register ``async (secret, connection) -> principal``.

        The principal is a str, or an object whose ``key`` is one. Raising AccessDenied refuses.
        """
        self._refuse_while_running("authenticate")
        self._authenticate = coroutine_function("authenticate", function, 2)
        return function

    def on_message(self, function: _OnMessage) -> _OnMessage:
        """Register ``async (message) -> answer`` for messages that are the application's own."""
        self._refuse_while_running("on_message")
        self._on_message = coroutine_function("on_message", function, 1)
        return function

    # Changes

    async def notify(
        self,
        entity: str,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Say that these keys changed, after the commit that changed them.

        Args:
            entity: a registered entity, or one that is named in a ``rows=``.
            ids: which of it.
            tags: what live queries (`Reads`) may have read them by: tag → value, or a list of old and
                new values. A tag that is left out matches every live query, no tags at all too.

        Returns:
            ``accepted`` once the broker has it, ``deferred`` if it is kept until the broker
            returns; local clients are served either way.

        Raises:
            UnknownEntity, BadId, ValueError: nothing was notified; ValueError names the tag.
            NotRunning: outside the lifespan.
        """
        keys, said = self._changed(entity, ids, tags)
        return await self._life.node.notify(keys, said)

    def notify_soon(
        self,
        entity: str,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
    ) -> concurrent.futures.Future[Receipt]:
        """`notify` from any thread, and from code that is not async; returns at once.

        Raises:
            UnknownEntity, BadId, ValueError, NotRunning: as for `notify`; later failures are in the
                future.
        """
        keys, said = self._changed(entity, ids, tags)
        node, loop = self._life.node, self._life.loop
        return asyncio.run_coroutine_threadsafe(node.notify(keys, said), loop)

    def _changed(
        self, entity: str, ids: Sequence[object], tags: Mapping[str, Any] | None
    ) -> tuple[list[EntityKey], Tags | None]:
        if not ids:
            raise TypeError("notify needs at least one id")
        keys = [self._catalog.key(entity, id) for id in ids]
        warn_inside(entity, debug=self._life.loop.get_debug())
        return keys, None if tags is None else canonical_tags(tags)

    # Rights

    async def revoke(self, principal_key: str) -> Receipt:
        """End this principal on every node: after a logout, or when an account is closed.

        What its connections watch is denied; they stay open, and a new secret is authenticated afresh.

        Returns:
            as `notify`.

        Raises:
            NotRunning: outside the lifespan.
        """
        return await self._life.node.revoke(principal_key)

    async def reauthorize(self, principal_key: str) -> Receipt:
        """Ask ``authorize`` again about all that this principal watches, on every node.

        Returns, raises: as `revoke`.
        """
        return await self._life.node.reauthorize(principal_key)

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
        if self._authenticate is not None:
            check_audiences(self._catalog)
        return Application(
            catalog=self._catalog,
            settings=self._settings,
            clock=self._clock,
            random=self._random,
            authenticate=self._authenticate,
            on_message=self._on_message,
            captures=self._captures,
            origins=self._origins,
            envelope=self._envelope,
        )

    def broker(self) -> Broker:
        """The broker it was given, or a new adapter for the URL it was given."""
        return broker_from(self._broker) if isinstance(self._broker, str) else self._broker

    def _refuse_while_running(self, what: str) -> None:
        if self._life.is_running:
            raise ConfigurationError(
                f"{what} is registered while Entity Sync runs; register everything before"
            )
