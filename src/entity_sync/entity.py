"""The handle that registering an entity gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, Protocol

from entity_sync.model import Named, Receipt

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Id = TypeVar("Id", default=Any)
    Principal = TypeVar("Principal", default=Any)
else:  # defaults came with Python 3.13, and only type checkers need them
    from typing import TypeVar

    Id = TypeVar("Id")
    Principal = TypeVar("Principal")

__all__ = ["Entity", "Id", "Notifying", "Principal"]


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


class Entity(Named, Generic[Id]):
    """A registered entity: call it to load, `notify` when one of it changed.

    Attributes:
        name: as registered.
    """

    def __init__(self, sync: Notifying, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._sync = sync
        self._function = function
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"Entity({self.name!r})"

    def __call__(self, *arguments: Any, **named: Any) -> Any:
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
