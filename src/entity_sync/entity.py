"""The handle that registering an entity gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from entity_sync.model import Receipt

__all__ = ["Entity", "Notifying"]


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


class Entity:
    """A registered entity: call it to load, `notify` when one of it changed.

    Attributes:
        name: as registered.
    """

    def __init__(self, sync: Notifying, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._sync = sync
        self._function = function
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:
        """Call the application's load function itself."""
        return self._function(*arguments)

    async def notify(
        self, *ids: object, tags: Mapping[str, Any] | None = None, revision: int | None = None
    ) -> Receipt:
        """`EntitySync.notify` for this entity."""
        return await self._sync.notify(self.name, *ids, tags=tags, revision=revision)

    def notify_soon(
        self, *ids: object, tags: Mapping[str, Any] | None = None, revision: int | None = None
    ) -> Future[Receipt]:
        """`EntitySync.notify_soon` for this entity."""
        return self._sync.notify_soon(self.name, *ids, tags=tags, revision=revision)
