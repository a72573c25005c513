"""The registered entities of one application."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from entity_sync.core.loaded import Loaded
from entity_sync.errors import ConfigurationError, UnknownEntity
from entity_sync.loading.ids import canonical_id
from entity_sync.loading.loader import Loader, check_name
from entity_sync.model import EntityKey, Wire

__all__ = ["Catalog"]

_log = logging.getLogger("entity_sync.loads")


class Catalog:
    """Entity name → `Loader`."""

    def __init__(self) -> None:
        self._loaders: dict[str, Loader] = {}
        self._unheard: set[str] = set()

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

    @property
    def topics(self) -> tuple[str, ...]:
        """The names whose changes may concern a view: registered, or those of rows."""
        rows = (loader.rows.entity for loader in self if loader.rows is not None)
        return tuple(dict.fromkeys((*self.names, *rows)))

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
        """The key the application means, of a registered entity or of one that is named in a ``rows=``.

        Raises:
            UnknownEntity, BadId: as for `resolve`.
        """
        loader = self._loaders.get(entity)
        if loader is None and entity not in self.topics:
            raise UnknownEntity(entity, self.topics)
        return EntityKey(entity, canonical_id(entity, id) if loader is None else loader.spell(id))

    def row(self, entity: str, id: object) -> EntityKey:
        """The key of a row that a loader returned: an entity that nobody registered is fine there.

        Raises:
            ConfigurationError, BadId: the name is none that an entity may have, or the id is not canonical.
        """
        loader = self._loaders.get(entity)
        if loader is None:
            check_name(entity)
        return EntityKey(entity, canonical_id(entity, id) if loader is None else loader.spell(id))

    def warn_unheard(self, key: EntityKey, loaded: Loaded) -> None:
        """Log, once for each name, that a load depends on an entity whose changes nobody can notify."""
        names = {read.entity for read in loaded.reads} | {one.entity for one in loaded.dependencies}
        for name in sorted(names.difference(self.topics, self._unheard)):
            self._unheard.add(name)
            _log.warning(
                "load of %s depends on entity %r, which is not registered, so no change of it is noticed: "
                "register it, name it in a rows=, or give its Row track=False",
                key,
                name,
            )
