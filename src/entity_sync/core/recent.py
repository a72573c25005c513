"""Changes of the last moments: a load that finds what it depends on may have begun before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from entity_sync.core.loaded import Loaded
from entity_sync.core.tags import Reading
from entity_sync.model import Change, EntityKey

__all__ = ["Recent"]

_KEPT = 1_024


class Recent:
    """A bounded memory of changes; what it forgot counts as concerning everything.

    Attributes:
        moment: counts what was noted; a load remembers it as it begins.
    """

    def __init__(self, limit: int = _KEPT) -> None:
        """
        Args:
            limit: changes remembered of each entity.
        """
        self.moment = 0
        self._limit = limit
        self._changes: dict[str, deque[tuple[int, float, Change]]] = {}
        self._forgotten: dict[str, int] = {}

    def note(self, change: Change, now: float = 0.0) -> None:
        """A key changed.

        Args:
            now: seconds of the clock.
        """
        self.moment += 1
        kept = self._changes.setdefault(change.key.entity, deque())
        kept.append((self.moment, now, change))
        if len(kept) > self._limit:
            self._forgotten[change.key.entity] = kept.popleft()[0]

    def note_all(self, entities: Iterable[str]) -> None:
        """Anything of these entities may have changed."""
        self.moment += 1
        for entity in entities:
            self._changes.pop(entity, None)
            self._forgotten[entity] = self.moment

    def changed(self, key: EntityKey, moment: int) -> bool:
        """Whether a change of this key may have been noted after ``moment``."""
        is_known = any(change.key == key for change in self._since(key.entity, moment))
        return is_known or self._forgotten.get(key.entity, 0) > moment

    def of(self, key: EntityKey) -> list[tuple[float, Change]]:
        """What is remembered of this key, and when it was noted, the oldest first."""
        return [(now, change) for _, now, change in self._changes.get(key.entity, ()) if change.key == key]

    def causes(self, key: EntityKey, moment: int) -> tuple[list[str], list[str]]:
        """The tokens of what is remembered of this key, up to ``moment`` and after it."""
        before: list[str] = []
        after: list[str] = []
        for at, _, change in self._changes.get(key.entity, ()):
            if change.key == key:
                (after if at > moment else before).extend(change.causes)
        return before, after

    def concerns(
        self, loaded: Loaded, moment: int, rows: frozenset[EntityKey], reads: tuple[Reading, ...]
    ) -> bool:
        """Whether a result that began at ``moment`` misses a change of what it depends on.

        Args:
            rows, reads: what was watched during the load already.
        """
        keys = loaded.dependencies - rows
        if any(
            change.key in keys
            for entity in {key.entity for key in keys}
            for change in self._since(entity, moment)
        ):
            return True
        watched = frozenset(reads)
        found = [read for read in loaded.reads if read not in watched]
        if any(read.concerns(change.tags) for read in found for change in self._since(read.entity, moment)):
            return True
        entities = {key.entity for key in keys} | {read.entity for read in found}
        return any(self._forgotten.get(entity, 0) > moment for entity in entities)

    def _since(self, entity: str, moment: int) -> Iterator[Change]:
        for at, _, change in reversed(self._changes.get(entity, ())):
            if at <= moment:
                return
            yield change
