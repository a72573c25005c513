"""Keys that wait for the broker to come back: bounded, each once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from entity_sync.core.receipts import MAX_CAUSES
from entity_sync.core.tags import merged
from entity_sync.model import Change, EntityKey

__all__ = ["Backlog"]


class Backlog:
    """What has to be published later.

    A key is kept with the number its message was given already, if one was: it is handed over again under
    that number, so that no other node sees a hole where only our hand-over failed. Several changes of one
    key become one that concerns whatever any of them does. Beyond the bound an entity's keys are forgotten
    for one order to load all of that entity.
    """

    def __init__(self, limit: int) -> None:
        """
        Args:
            limit: distinct keys kept.
        """
        self._limit = limit
        self._kept: OrderedDict[EntityKey, Change] = OrderedDict()  # both ends of it cost the same
        self._overflowed: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._kept or self._overflowed)

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, changes: Sequence[Change]) -> None:
        """Publish these later."""
        for change in changes:
            key = change.key
            if key.entity in self._overflowed:
                continue
            self._kept[key] = _joined(self._kept.get(key, change), change)
            if len(self._kept) > self._limit:
                self._overflow()

    def put_back(self, changes: Sequence[Change]) -> None:
        """What `take` gave could not be published: it is the oldest again."""
        for change in reversed(changes):
            key = change.key
            if key.entity not in self._overflowed:
                self._kept[key] = _joined(change, self._kept.get(key, change))
                self._kept.move_to_end(key, last=False)
        while len(self._kept) > self._limit:
            self._overflow()

    def take(self, count: int) -> tuple[list[str], list[Change]]:
        """Remove and return the entities to load whole, and the oldest changes, at most ``count``.

        A key that changes again from now on is kept anew, for one more message.
        """
        entities, self._overflowed = list(self._overflowed), {}
        changes = [self._kept.popitem(last=False)[1] for _ in range(min(count, len(self._kept)))]
        return entities, changes

    def order(self, entities: Sequence[str]) -> None:
        """All of these entities has to be loaded again, later."""
        for entity in entities:
            self._overflowed[entity] = None
            for key in [key for key in self._kept if key.entity == entity]:
                del self._kept[key]

    def order_all(self) -> None:
        """There is no time left for the keys: one order for each entity of which some are kept."""
        self.order(list(dict.fromkeys(key.entity for key in self._kept)))

    def _overflow(self) -> None:
        """Forget the keys of the entity that has most of them."""
        counts: dict[str, int] = {}
        for key in self._kept:
            counts[key.entity] = counts.get(key.entity, 0) + 1
        self.order([max(counts, key=lambda entity: counts[entity])])


def _joined(earlier: Change, later: Change) -> Change:
    """One Change for two of the same key.

    Which of the two came last does not tell which row is newer: requests that commit one after the other may
    notify in the other order, and a publish that failed is kept when it gives up. So the higher revision
    counts; and none where either has none, as it may be a deletion, after which revisions begin anew.
    """
    causes = tuple(dict.fromkeys((*earlier.causes, *later.causes)))[-MAX_CAUSES:]
    tags = merged(earlier.tags, later.tags)
    return Change(later.key, earlier.origin or later.origin, tags, causes, _higher(earlier, later))


def _higher(one: Change, other: Change) -> int | None:
    if one.revision is None or other.revision is None:
        return None
    return max(one.revision, other.revision)
