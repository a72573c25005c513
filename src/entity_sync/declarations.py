"""What an application declares: its entities, who a client is, its own messages."""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Concatenate, Generic, TypeAlias, TypeVar, overload
from urllib.parse import urlsplit

from entity_sync.core.envelope import Envelope
from entity_sync.entity import Entity, Principal
from entity_sync.errors import ConfigurationError
from entity_sync.hub.admission import Authenticator
from entity_sync.hub.captures import Capture, check_entities
from entity_sync.hub.node import OnMessage
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader, check_name
from entity_sync.loading.revision import Revision
from entity_sync.loading.rows import RowsOf
from entity_sync.loading.signature import check_declared, is_async
from entity_sync.model import Audience, ConnectionInfo, EntityKey, Named, Receipt, name_of

__all__ = ["Declarations", "check_origin"]

_log = logging.getLogger("entity_sync")
_Who: TypeAlias = Callable[[str | None, ConnectionInfo], Coroutine[Any, Any, Principal]]
_Id = TypeVar("_Id")
_Result = TypeVar("_Result")
_OnMessage = TypeVar("_OnMessage", bound=Callable[..., Any])


class Declarations(ABC, Generic[Principal]):
    """The declaring half of `EntitySync`: filled before it starts."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._catalog = Catalog()
        self._authenticate: Authenticator | None = None
        self._on_message: OnMessage | None = None
        self._to_notify: set[str] = set()

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether it has started, so that nothing may be declared any more."""

    @abstractmethod
    async def notify(
        self,
        entity: str | Named,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> Receipt:
        """What an `Entity` needs of it."""

    @abstractmethod
    def notify_soon(
        self,
        entity: str | Named,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> Future[Receipt]:
        """The same from any thread."""

    @overload
    def entity(
        self,
        name: str,
        *,
        per: Callable[[Principal], Audience] | None = None,
        public: bool = False,
        authorize: Callable[[Principal, EntityKey], bool | Awaitable[bool]] | None = None,
        rows: tuple[str, str | Callable[[Any], object]] | None = None,
        batch: int,
        min_interval: float = 0.0,
        refresh_every: float | None = None,
        revision: Revision | None = None,
        timeout: float = 10.0,
    ) -> Callable[[Callable[Concatenate[list[_Id], ...], _Result]], Entity[_Id, _Result]]: ...

    @overload
    def entity(
        self,
        name: str,
        *,
        per: Callable[[Principal], Audience] | None = None,
        public: bool = False,
        authorize: Callable[[Principal, EntityKey], bool | Awaitable[bool]] | None = None,
        rows: tuple[str, str | Callable[[Any], object]] | None = None,
        batch: None = None,
        min_interval: float = 0.0,
        refresh_every: float | None = None,
        revision: Revision | None = None,
        timeout: float = 10.0,
    ) -> Callable[[Callable[Concatenate[_Id, ...], _Result]], Entity[_Id, _Result]]: ...

    def entity(
        self,
        name: str,
        *,
        per: Callable[[Principal], Audience] | None = None,
        public: bool = False,
        authorize: Callable[[Principal, EntityKey], bool | Awaitable[bool]] | None = None,
        rows: tuple[str, str | Callable[[Any], object]] | None = None,
        batch: int | None = None,
        min_interval: float = 0.0,
        refresh_every: float | None = None,
        revision: Revision | None = None,
        timeout: float = 10.0,
    ) -> Callable[[Callable[..., Any]], Entity[Any]]:
        """Register a loader under an entity's name.

        The loader takes ``(id)``, and one load serves every viewer, or ``(id, audience)``, and
        one load serves all whose audience is equal. It returns one value, None when the key does
        not exist, or a list; or it yields: values, `Row` with keys of their own, and `Reads`. It must
        read afresh: no cache, no transaction opened earlier.

        Args:
            name: 1 to 64 of ``A-Z a-z 0-9 _ . -``.
            per: makes the audience of a principal, a str, int of 128 bits, bool, UUID, None or tuple of
                them; the principal's key if None. A loader is given exact ones: a tuple for a NamedTuple.
            public: every principal may see it.
            authorize: ``(principal, key) -> bool``, async or quick: whether they may see it. ``key.id`` is
                text, whatever the loader's id is: ``int(key.id) in user.orders``. Asked before anything is
                loaded, whenever who they are changes, and every ``Settings.authorize_ttl``, but not when the
                key is notified: what changes who may see it says so by `EntitySync.reauthorize`. Raising
                means no, until it is asked again some moments later. With ``authenticate``, an ``(id)``
                loader needs this or ``public``.
            rows: makes every plain element a row of its own: the entity it is one of, and where its id
                is: a member's or attribute's name, or a function of the element.
            batch: the loader takes up to so many ids at once, those that are wanted in one turn of the
                loop (while it runs, in 5 ms), and returns a mapping: a missing id is gone, and a value may be
                an exception (``AccessDenied()``: gone for this principal). What it raises is for all of
                them, and costs calls with fewer ids to find those it is for.
            min_interval: seconds between two loads of one key that changes caused; the last change always
                leads to one.
            refresh_every: seconds after which what is watched is loaded again without any notify.
            revision: where loads may read a replica: the member, attribute or function that is a value's own
                ordered number (a version column). A load below what `notify` said, or what was shown, is
                tried again and not shown; one that may lack what no revision tells of is followed by another
                after ``Settings.replica_lag``, so replicas have to be less than that behind.
            timeout: seconds a load may take.

        Raises:
            ConfigurationError: name, signature or id annotation cannot work.
        """
        check_declared(name, per, rows)

        def register(function: Callable[..., Any]) -> Entity[Any]:
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
                revision=revision,
            )
            _check_names(loader, self._envelope)
            self._catalog.add(loader)
            return Entity(self, name, function)

        return register

    def authenticate(self, function: _Who[Principal]) -> _Who[Principal]:
        """Register ``async (secret, connection) -> principal``.

        The principal is a str, or an object whose ``key`` is one, by which `EntitySync.revoke` knows it.
        Where it has an ``expires_at``, seconds since 1970 or a datetime with a time zone, its client is
        warned ``Settings.expiry_warning`` before and is nobody ``Settings.expiry_grace`` after; None for
        no end. Raising AccessDenied refuses; for anybody, return "".
        """
        self._refuse_while_running("authenticate")
        self._authenticate = _coroutine_function("authenticate", function, 2)
        return function

    def on_message(self, function: _OnMessage) -> _OnMessage:
        """Register ``async (message) -> answer`` for messages that are the application's own."""
        self._refuse_while_running("on_message")
        self._on_message = _coroutine_function("on_message", function, 1)
        return function

    def will_notify(self, *entities: str) -> None:
        """Of these entities keys will be notified; it may be said before they are registered."""
        self._to_notify.update(entities)

    def keys_of(self, entity: str | Named, ids: Sequence[object]) -> list[EntityKey]:
        """The keys that a notify of these ids is of.

        Raises:
            TypeError: there are none.
            UnknownEntity, BadId: as for `notify`.
        """
        if not ids:
            raise TypeError("notify needs at least one id")
        return [self._catalog.key(name_of(entity), id) for id in ids]

    def check(self, captures: Iterable[Capture] = ()) -> None:
        """All that was declared can work together, and with these captures.

        Raises:
            ConfigurationError: it cannot.
        """
        if self._authenticate is not None:
            _check_audiences(self._catalog)
        else:
            _warn_of_audiences(self._catalog)
        if unknown := self._to_notify.difference(self._catalog.topics):
            raise ConfigurationError(
                f"{', '.join(map(repr, sorted(unknown)))} would be notified of commits, and is neither a "
                "registered entity nor named in a rows="
            )
        for capture in captures:
            check_entities(capture, self._catalog.topics)

    def _refuse_while_running(self, what: str) -> None:
        if self.is_running:
            raise ConfigurationError(
                f"{what} is registered while Entity Sync runs; register everything before"
            )


def _check_audiences(loaders: Iterable[Loader]) -> None:
    """With ``authenticate``, no entity is for everybody unless that was said.

    Raises:
        ConfigurationError: one is.
    """
    for loader in loaders:
        if not (loader.takes_audience or loader.public or loader.authorize):
            raise ConfigurationError(
                f"entity {loader.name!r}: authenticate is set, and this loader takes only an id, so "
                "everyone would see it: declare public=True or authorize=, or give the loader a second "
                "parameter, the audience"
            )


def _warn_of_audiences(loaders: Iterable[Loader]) -> None:
    """Without ``authenticate``, an audience is made of whatever a client says."""
    for loader in loaders:
        if loader.takes_audience:
            _log.warning(
                "entity %r takes an audience, but nothing says who a client is: register @sync.authenticate "
                "(without it the audience is whatever the client sends as its secret)",
                loader.name,
            )


def _coroutine_function(what: str, function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The function itself, if it can be awaited with ``count`` arguments.

    Raises:
        ConfigurationError: it cannot, naming ``what``.
    """
    if not is_async(function):
        raise ConfigurationError(f"{what} must be an async function")
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError as error:
        raise ConfigurationError(f"{what} takes {count} positional arguments: {error}") from None
    return function


def _check_names(loader: Loader, envelope: Envelope) -> None:
    """With the prefix before them, brokers can carry the names of the entity and of its rows.

    Raises:
        ConfigurationError: they cannot.
    """
    check_name(envelope.topic(loader.name))
    if loader.rows is not None:
        check_name(loader.rows.entity)
        check_name(envelope.topic(loader.rows.entity))


def check_origin(origin: str) -> str:
    """The origin, as browsers spell it.

    Raises:
        ConfigurationError: it is none.
    """
    if origin == "*":
        _log.warning("origins=['*']: every page of the web may connect with its visitor's cookies")
        return origin
    parts = urlsplit(origin)
    if not parts.scheme or not parts.netloc or parts.path or parts.query:
        raise ConfigurationError(
            f"an origin is a scheme and a host, for example https://app.example, not {origin!r}"
        )
    return origin.lower()
