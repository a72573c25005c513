"""What a transaction has changed so far, with its savepoints."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypeAlias

from entity_sync.capture.statements import Statement
from entity_sync.capture.telling import Changed
from entity_sync.core.tags import canonical_tags, merged
from entity_sync.model import Tags

__all__ = ["Pending"]


_Said: TypeAlias = tuple[tuple[str, frozenset[str]], ...]


class Pending:
    """Keys with tags, and statements, by the savepoint or transaction in which they changed.

    A savepoint that is released hands them to what is around it; one that is rolled back takes them along.
    """

    def __init__(self) -> None:
        self._changed: dict[Hashable, dict[tuple[str, object], Tags | None]] = {}
        self._passed: dict[Hashable, dict[Statement, None]] = {}
        self._committed: set[Hashable] = set()

    def __bool__(self) -> bool:
        return any(self._changed.values()) or any(self._passed.values())

    def add(self, place: Hashable, entity: str, id: object, tags: Mapping[str, Any] | None) -> None:
        """A key changed in this place.

        Raises:
            ValueError: naming the tag that cannot be.
        """
        self._add(place, (entity, id), None if tags is None else canonical_tags(tags))

    def pass_by(self, place: Hashable, statement: Statement) -> None:
        """This was executed in this place, and which keys it changed nobody knows."""
        self._passed.setdefault(place, {})[statement] = None

    def entities(self) -> set[str]:
        """Those of which keys changed."""
        return {entity for changed in self._changed.values() for entity, _ in changed}

    def passed(self, place: Hashable) -> list[Statement]:
        """What was executed in this place, and in what it has taken over."""
        return list(self._passed.get(place, ()))

    def commit(self, place: Hashable) -> None:
        """The place was released, or committed."""
        self._committed.add(place)

    def is_committed(self, place: Hashable) -> bool:
        """Whether it was said of the place."""
        return place in self._committed

    def end(self, place: Hashable, outer: Hashable) -> None:
        """The place is over: what is in it is the outer one's, if it was released."""
        if (passed := self._passed.pop(place, None)) and place in self._committed:
            self._passed.setdefault(outer, {}).update(passed)
        for key, tags in self._over(place).items():
            self._add(outer, key, tags)

    def take(self, place: Hashable) -> Iterator[Changed]:
        """The outermost place is over: what it committed."""
        groups: dict[tuple[str, _Said | None], list[object]] = {}
        for (entity, id), tags in self._over(place).items():
            said = None if tags is None else tuple(sorted(tags.items()))
            groups.setdefault((entity, said), []).append(id)
        for (entity, said), ids in groups.items():
            told = None if said is None else {name: sorted(values) for name, values in said}
            yield Changed(entity, ids, told)

    def _add(self, place: Hashable, key: tuple[str, object], tags: Tags | None) -> None:
        changed = self._changed.setdefault(place, {})
        changed[key] = merged(changed[key], tags) if key in changed else tags

    def _over(self, place: Hashable) -> dict[tuple[str, object], Tags | None]:
        changed = self._changed.pop(place, {})
        is_committed = place in self._committed
        self._committed.discard(place)
        return changed if is_committed else {}
