"""Which views this node has, found by key and audience, and by key alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from entity_sync.core.view import View
from entity_sync.model import Audience, EntityKey

__all__ = ["Index"]

_NONE: dict[Audience, View] = {}


class Index:
    """The node's views; a change finds those of its key in one look-up, whatever else is watched."""

    def __init__(self, number: Callable[[], int]) -> None:
        """
        Args:
            number: draws the wire's number for a new view: random, 31 bits.
        """
        self._by_key: dict[EntityKey, dict[Audience, View]] = {}
        self._by_number: dict[int, View] = {}
        self._draw = number

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[View]:
        """Every view, the newest first."""
        return reversed(self._by_number.values())

    def of(self, key: EntityKey) -> Collection[View]:
        """The views of a key, one for each audience."""
        return self._by_key.get(key, _NONE).values()

    def open(self, key: EntityKey, audience: Audience) -> View:
        """The view of this key and audience, made if nobody watched it before."""
        audiences = self._by_key.setdefault(key, {})
        view = audiences.get(audience)
        if view is None:
            number = self._draw()
            while number in self._by_number:
                number = self._draw()
            view = audiences[audience] = self._by_number[number] = View(key, audience, number)
        return view

    def close(self, view: View) -> None:
        """Forget a view that nobody watches."""
        audiences = self._by_key[view.key]
        del audiences[view.audience]
        if not audiences:
            del self._by_key[view.key]
        del self._by_number[view.number]
