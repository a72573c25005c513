"""The registered entities of one application."""

from __future__ import annotations

from collections.abc import Iterator

from entity_sync.errors import ConfigurationError, UnknownEntity
from entity_sync.loading.loader import Loader
from entity_sync.model import EntityKey, Wire

__all__ = ["Catalog"]


class Catalog:
    """Entity name → `Loader`."""

    def __init__(self) -> None:
        self._loaders: dict[str, Loader] = {}

    def __iter__(self) -> Iterator[Loader]:
        return iter(self._loaders.values())

    def __getitem__(self, entity: str) -> Loader:
        try:
            return self._loaders[entity]
        except KeyError:
            raise UnknownEntity(entity, self.names) from None

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names, in order of registration."""
        return tuple(self._loaders)

    def add(self, loader: Loader) -> None:
        """Register an entity.

        Raises:
            ConfigurationError: the name is taken.
        """
        if loader.name in self._loaders:
            raise ConfigurationError(f"entity {loader.name!r} is registered twice")
        self._loaders[loader.name] = loader

    def resolve(self, entity: str, id: str, wire: Wire) -> EntityKey:
        """The key a client means.

        Raises:
            UnknownEntity, BadId: there is no such entity, or the id is not canonical.
        """
        return EntityKey(entity, self[entity].id_type.canonical(entity, id, wire))

    def key(self, entity: str, id: object) -> EntityKey:
        """The key the application means.

        Raises:
            UnknownEntity, BadId: as for `resolve`.
        """
        return EntityKey(entity, self[entity].id_type.canonical_of(entity, id))
