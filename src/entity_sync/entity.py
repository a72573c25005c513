"""The handle that registering an entity gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, Protocol

from entity_sync.model import Named, Receipt

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Id = TypeVar("Id", default=Any)
    Result_co = TypeVar("Result_co", default=Any, covariant=True)
    Principal = TypeVar("Principal", default=Any)
else:  # defaults came with Python 3.13, and only type checkers need them
    from typing import TypeVar, TypeVarTuple, Unpack

    Id = TypeVar("Id")
    Result_co = Unpack[TypeVarTuple("Result_co")]  # so that Entity[int] may do without
    Principal = TypeVar("Principal")

__all__ = ["Entity", "Id", "Notifying", "Principal", "Result_co"]


class Notifying(Protocol):
    """What an `Entity` needs of its application."""

    async def notify(
        self,
        entity: str,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> Receipt:
        """Say that these keys changed."""
        ...

    def notify_soon(
        self,
        entity: str,
        *ids: object,
        tags: Mapping[str, Any] | None = None,
        revision: int | None = None,
    ) -> Future[Receipt]:
        """The same from any thread."""
        ...


class Entity(Named, Generic[Id, Result_co]):
    """A registered entity: call it to load, `notify` when one of it changed.

    To a type checker it is one of ids of a type, and of what its load function gives, an awaitable where that
    is async. ``Entity[int]`` leaves the latter open.

    Attributes:
        name: as registered.
    """

    def __init__(self, sync: Notifying, name: str, function: Callable[..., Result_co]) -> None:
        self.name = name
        self._sync = sync
        self._function = function
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"Entity({self.name!r})"

    def __call__(self, *arguments: Any, **named: Any) -> Result_co:
        """Call the application's load function itself."""
        return self._function(*arguments, **named)

    async def notify(
        self, *ids: Id, tags: Mapping[str, Any] | None = None, revision: int | None = None
    ) -> Receipt:
        """`EntitySync.notify` for this entity."""
        return await self._sync.notify(self.name, *ids, tags=tags, revision=revision)

    def notify_soon(
        self, *ids: Id, tags: Mapping[str, Any] | None = None, revision: int | None = None
    ) -> Future[Receipt]:
        """`EntitySync.notify_soon` for this entity."""
        return self._sync.notify_soon(self.name, *ids, tags=tags, revision=revision)
