"""A registered entity: its name, its load function, and who may share a load."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, TypeAlias, TypeVar, cast

from entity_sync.core.loaded import Loaded
from entity_sync.errors import AccessDenied, ConfigurationError, LoadFailed
from entity_sync.loading.audience import made
from entity_sync.loading.batch import checked, taken
from entity_sync.loading.exact import exact_text
from entity_sync.loading.ids import ID_TYPES, IdType
from entity_sync.loading.revision import Revision
from entity_sync.loading.rows import Collector, Known, RowsOf, collected, finished
from entity_sync.loading.shape import Shape, shape_of
from entity_sync.loading.signature import (
    check_authorize,
    check_batch,
    check_revision,
    check_seconds,
    globals_of,
    id_type_of,
    parameters_of,
)
from entity_sync.loading.slices import Pause, Slice, Steps, at_no_time, at_once, in_turns
from entity_sync.model import EVERYONE, Audience, EntityKey

__all__ = ["Authorize", "Loader", "Per", "check_name", "principal_key"]

Per = Callable[[Any], Audience]
Authorize: TypeAlias = Callable[[Any, EntityKey], bool | Awaitable[bool]]
InThread = Callable[..., Awaitable[Any]]
_Result = TypeVar("_Result")
_Use: TypeAlias = Callable[[object], Steps[_Result]]
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """How one entity is loaded.

    Attributes:
        name: the entity.
        function: the application's function, of an id, or of an id and an audience.
        id_type: what its id is annotated with.
        per: makes the audience of a principal; None where the principal's key is the audience.
        takes_audience: whether the function is given the audience; if not, one load serves all.
        is_async: whether the function is a coroutine function; a plain one runs in a thread.
        public: declared to be for every principal.
        authorize: says whether a principal may see a key; None where every one may.
        timeout: seconds one attempt may take.
        rows: makes keyed rows of the elements it returns, None where they are values.
        shape: makes of an object what the return annotation says; None where that names no model.
        batch: how many keys one call may be for; None where the function takes one.
        min_interval: seconds between the beginnings of two loads of one view that changes caused.
        refresh_every: seconds after which a watched view is loaded again unasked; None for never.
        revision: finds the application's own number of a value; None where it has none.
    """

    name: str
    function: Callable[..., Any]
    id_type: IdType
    per: Per | None
    takes_audience: bool
    is_async: bool
    public: bool
    timeout: float
    authorize: Authorize | None = None
    rows: RowsOf | None = None
    shape: Shape | None = None
    batch: int | None = None
    min_interval: float = 0.0
    refresh_every: float | None = None
    revision: Revision | None = None

    @classmethod
    def of(
        cls,
        name: str,
        function: Callable[..., Any],
        *,
        per: Per | None,
        public: bool,
        timeout: float,
        authorize: Authorize | None = None,
        rows: RowsOf | None = None,
        batch: int | None = None,
        min_interval: float = 0.0,
        refresh_every: float | None = None,
        revision: Revision | None = None,
    ) -> Loader:
        """Read a load function's signature.

        Raises:
            ConfigurationError: the name, the signature or the id's annotation is not usable.
        """
        check_name(name)
        check_batch(name, function, batch)
        check_seconds(name, timeout=timeout, min_interval=min_interval, refresh_every=refresh_every)
        if authorize is not None:
            check_authorize(name, authorize, public=public)
        check_revision(name, revision, name if rows is None else rows.entity)
        parameters = parameters_of(name, function, has_per=per is not None)
        return cls(
            name=name,
            function=function,
            id_type=id_type_of(name, function, parameters[0], is_batch=batch is not None),
            per=per,
            takes_audience=len(parameters) == 2,
            is_async=inspect.iscoroutinefunction(function),
            public=public,
            timeout=timeout,
            authorize=authorize,
            rows=rows,
            shape=shape_of(inspect.unwrap(function), globals_of(function)),
            batch=batch,
            min_interval=min_interval,
            refresh_every=refresh_every,
            revision=revision,
        )

    def audience(self, principal: object) -> Audience:
        """Who shares a load with this principal.

        Raises:
            AccessDenied: ``per`` raised, or made something that is no plain value.
        """
        if not self.takes_audience:
            return EVERYONE
        if self.per is None:
            return principal_key(principal)
        return made(self.name, self.per, principal)

    def spell(self, id: object) -> str:
        """The canonical text of an id that the application hands over.

        Raises:
            BadId: it is not of the type that the loader's id is annotated with.
        """
        return self.id_type.canonical_of(self.name, id)

    async def load(
        self,
        key: EntityKey,
        audience: Audience,
        in_thread: InThread,
        known: Known,
        *,
        most: float = inf,
        pause: Pause = at_no_time,
    ) -> Loaded:
        """One attempt.

        Args:
            in_thread: calls a plain function of this entity in a thread.
            known: spells the keys of rows.
            most: bytes that the rows of one key may have as JSON.
            pause: gives others a turn of the loop.

        Raises:
            Exception: whatever the application's function raises; LoadFailed for a result that
                cannot be sent. AccessDenied counts as gone, so that it tells a client nothing.
        """
        into = self._collector(key, known, most)
        arguments = self._arguments(self._id(key), audience)
        try:
            if inspect.isasyncgenfunction(inspect.unwrap(self.function)):
                made = self.function(*arguments)
            else:  # it may return an async generator all the same
                made = await self._call(arguments, in_thread, partial(_collected, into=into), pause)
            if isinstance(made, Loaded):
                return made
            async with aclosing(made) as generator:
                async for element in generator:
                    if into.add(element):
                        await pause()
            return await in_turns(finished(into), pause)
        except AccessDenied:
            return into.denied()
        except LoadFailed as error:
            raise into.unusable(error) from error.__cause__
        finally:
            into.close()

    async def load_batch(
        self,
        keys: Sequence[EntityKey],
        audience: Audience,
        in_thread: InThread,
        known: Known,
        *,
        most: float = inf,
        pause: Pause = at_no_time,
    ) -> list[Loaded | LoadFailed]:
        """One attempt for several keys; what is missing in the answer is gone.

        Args, raises: as `load`; what concerns one key alone is returned in its place.
        """
        ids = [self._id(key) for key in keys]

        def use(answer: object) -> Steps[list[Loaded | LoadFailed]]:
            answered, found, done = checked(answer, ids), [], Slice()
            for id, key in zip(ids, keys, strict=True):
                collect = partial(collected, into=self._collector(key, known, most, done))
                found.append((yield from taken(answered.get(id), collect)))
            return found

        try:
            return await self._call(self._arguments(ids, audience), in_thread, use, pause)
        except AccessDenied:
            if len(keys) > 1:  # which of them is denied is found by asking for fewer
                raise
            return at_once(use(dict.fromkeys(ids, AccessDenied())))

    def _collector(self, key: EntityKey, known: Known, most: float, done: Slice | None = None) -> Collector:
        return Collector(
            key, known, rows=self.rows, shape=self.shape, revision=self.revision, most=most, done=done
        )

    def _id(self, key: EntityKey) -> Any:
        # A classic client may have used a text that parse refuses: a str id is its own value.
        return key.id if self.id_type is ID_TYPES[str] else self.id_type.parse(key.id)

    def _arguments(self, id: object, audience: Audience) -> list[object]:
        return [id, audience] if self.takes_audience else [id]

    async def _call(
        self, arguments: list[object], in_thread: InThread, use: _Use[_Result], pause: Pause
    ) -> _Result:
        """What ``use`` makes of the function's result, in the function's thread: reading that may do I/O."""
        if self.is_async:
            made = await self.function(*arguments)
        else:
            made = await in_thread(self.name, _used, use, self.function, *arguments)
            if not inspect.isawaitable(made):
                return cast("_Result", made)
        if inspect.isawaitable(made):  # a plain wrapper of, or an object that is, a coroutine function
            made = await made
        return await in_turns(use(made), pause)


def _collected(value: object, into: Collector) -> Steps[Loaded | AsyncGenerator[Any, None]]:
    return value if isinstance(value, AsyncGenerator) else (yield from collected(value, into))


def _used(use: _Use[Any], function: Callable[..., Any], *arguments: object) -> Any:
    value = function(*arguments)
    return value if inspect.isawaitable(value) else at_once(use(value))


def check_name(name: str) -> None:
    """Refuse a name that not every broker can carry.

    Raises:
        ConfigurationError: the name is not of ``[A-Za-z0-9_.-]{1,64}``, or reserved.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"an entity name is 1 to 64 of A-Z a-z 0-9 _ . - with the topic prefix, not {name!r}"
        )
    if name.startswith("entity-sync."):
        raise ConfigurationError(f"names that begin with 'entity-sync.' are our own, as {name!r} does")


def principal_key(principal: object) -> str:
    """The string that names a principal: itself, or its ``key``, as an exact str.

    Raises:
        AccessDenied: it has neither, or its ``key`` raised.
    """
    if principal is None:
        raise AccessDenied('authenticate returned None: raise AccessDenied to refuse, return "" for anybody')
    try:
        key = principal if isinstance(principal, str) else getattr(principal, "key", _MISSING)
        if isinstance(key, str):
            return exact_text(key)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        kind = type(principal).__name__
        raise AccessDenied(f"the key of a principal, a {kind}, raised {type(error).__name__}") from error
    of = "" if key is _MISSING else f" whose key is of type {type(key).__name__}"
    raise AccessDenied(
        f"authenticate returned a {type(principal).__name__}{of}: "
        "a principal is a str, or an object whose key is a str"
    )
