"""Changes of the last moments: a load that finds what it depends on may have begun before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from typing import TypeAlias

from entity_sync.core.loaded import Loaded
from entity_sync.core.tags import Reading, Readings
from entity_sync.model import Change, EntityKey

__all__ = ["Recent"]

_KEPT = 1_024
_Noted: TypeAlias = tuple[int, float, Change]  # at which moment, and when


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
        self._changes: dict[str, deque[_Noted]] = {}
        self._of_key: dict[EntityKey, list[_Noted]] = {}  # lists: most hold one, and a deque takes 600 bytes
        self._forgotten: dict[str, int] = {}

    def note(self, change: Change, now: float = 0.0) -> None:
        """A key changed.

        Args:
            now: seconds of the clock.
        """
        self.moment += 1
        kept = self._changes.setdefault(change.key.entity, deque())
        noted = (self.moment, now, change)
        kept.append(noted)
        self._of_key.setdefault(change.key, []).append(noted)
        if len(kept) > self._limit:
            self._forget(*kept.popleft())

    def note_all(self, entities: Iterable[str]) -> None:
        """Anything of these entities may have changed."""
        self.moment += 1
        for entity in entities:
            for _, _, change in self._changes.pop(entity, ()):
                self._of_key.pop(change.key, None)
            self._forgotten[entity] = self.moment

    def changed(self, key: EntityKey, moment: int) -> bool:
        """Whether a change of this key may have been noted after ``moment``."""
        is_known = any(at > moment for at, _, _ in self._of_key.get(key, ()))
        return is_known or self._forgotten.get(key.entity, 0) > moment

    def of(self, key: EntityKey) -> list[tuple[float, Change]]:
        """What is remembered of this key, and when it was noted, the oldest first."""
        return [(now, change) for _, now, change in self._of_key.get(key, ())]

    def noted(
        self, keys: Collection[EntityKey], reads: Iterable[Reading], moment: int
    ) -> tuple[list[tuple[float, Change]], list[tuple[float, Change]]]:
        """What is remembered of these keys, and of what concerns these live queries.

        Returns:
            what was noted up to ``moment``, and after it, each with when it was, the oldest first.
        """
        found = {at: (now, change) for key in keys for at, now, change in self._of_key.get(key, ())}
        found |= {at: (now, change) for at, now, change in self._concerning(reads, 0)}
        before = [found[at] for at in sorted(found) if at <= moment]
        after = [found[at] for at in sorted(found) if at > moment]
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
            for _, _, change in self._since(entity, moment)
        ):
            return True
        watched = frozenset(reads)
        found = [read for read in loaded.reads if read not in watched]
        if any(True for _ in self._concerning(found, moment)):
            return True
        entities = {key.entity for key in keys} | {read.entity for read in found}
        return any(self._forgotten.get(entity, 0) > moment for entity in entities)

    def _since(self, entity: str, moment: int) -> Iterator[_Noted]:
        return takewhile(lambda noted: noted[0] > moment, reversed(self._changes.get(entity, ())))

    def _concerning(self, reads: Iterable[Reading], moment: int) -> Iterator[_Noted]:
        alike: dict[str, list[Reading]] = {}
        for read in reads:
            alike.setdefault(read.entity, []).append(read)
        for entity, some in alike.items():
            if noted := list(self._since(entity, moment)):
                readings = Readings(some)
                yield from (one for one in noted if readings.concerned(one[2].tags))

    def _forget(self, moment: int, _now: float, change: Change) -> None:
        self._forgotten[change.key.entity] = moment
        of_key = self._of_key[change.key]
        del of_key[0]
        if not of_key:
            del self._of_key[change.key]
