"""Views whose load begins later: they keep a pause, or what failed together is tried again together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from entity_sync.clock import Clock, Timer
from entity_sync.core.view import View

__all__ = ["Delays"]


@dataclass(slots=True, eq=False)
class _Group:
    views: dict[View, None]
    timer: Timer


class Delays:
    """One timer for each group of views; a view is in one group at most."""

    def __init__(self, clock: Clock, elapsed: Callable[[View], None]) -> None:
        """
        Args:
            elapsed: called with every view of a group when its time is over.
        """
        self._clock = clock
        self._elapsed = elapsed
        self._groups: dict[View, _Group] = {}

    def __contains__(self, view: View) -> bool:
        return view in self._groups

    def __iter__(self) -> Iterator[View]:
        return iter(self._groups)

    def of(self, entity: str) -> list[View]:
        """The views of an entity that wait."""
        return [view for view in self._groups if view.key.entity == entity]

    def add(self, views: Iterable[View], seconds: float) -> None:
        """Have these wait for so many seconds."""
        group = _Group(dict.fromkeys(views), self._clock.call_later(seconds, lambda: self._end(group)))
        self._groups.update(dict.fromkeys(group.views, group))

    def drop(self, view: View) -> bool:
        """Have a view wait no longer; says whether it did."""
        group = self._groups.pop(view, None)
        if group is None:
            return False
        del group.views[view]
        if not group.views:
            group.timer.cancel()
        return True

    def close(self) -> None:
        """Forget all of them."""
        for view in list(self._groups):
            self.drop(view)

    def _end(self, group: _Group) -> None:
        for view in list(group.views):
            if view in group.views:  # what was done about one before may have dropped another
                self.drop(view)
                self._elapsed(view)
