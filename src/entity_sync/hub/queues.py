"""The views of one entity that wait for a load, and which of them the next one is for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

from entity_sync.core.index import spelled
from entity_sync.core.view import View

__all__ = ["Queue", "probe"]

_Group: TypeAlias = OrderedDict[View, None]


class Queue:
    """The one that waits longest is the first; those that one batch can load stand together.

    These are of one audience, and those that failed are apart from those that did not, whom they would have
    fail with them.
    """

    def __init__(self) -> None:
        self._views: OrderedDict[View, tuple[str, bool]] = OrderedDict()
        self._groups: dict[tuple[str, bool], _Group] = {}

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, view: object) -> bool:
        return view in self._views

    def __iter__(self) -> Iterator[View]:
        return iter(self._views)

    def add(self, view: View) -> None:
        """It waits from now on, if it does not already."""
        if view not in self._views:
            name = self._views[view] = (spelled(view.audience), view.attempts > 0)
            self._groups.setdefault(name, OrderedDict())[view] = None

    def discard(self, view: View) -> None:
        """It waits no longer, if it does."""
        name = self._views.pop(view, None)
        if name is not None:
            group = self._groups[name]
            del group[view]
            if not group:
                del self._groups[name]

    def prefer(self, view: View) -> None:
        """It waits, and is the next."""
        self._views.move_to_end(view, last=False)
        self._groups[self._views[view]].move_to_end(view, last=False)

    def take(self, most: int) -> dict[View, None]:
        """Take out the view that waits longest, and the next that one batch can load with it."""
        name = next(iter(self._views.values()))
        found = dict.fromkeys(islice(self._groups[name], most))
        for view in found:
            self.discard(view)
        return found


def probe(queue: Queue, *, had_loaded: bool) -> View:
    """Which view to try: the one that failed least.

    By turns one that had been loaded before, which bad ids of a client have not been, and one that had not,
    so that those whose rows went bad do not keep out whoever comes.
    """
    return min(queue, key=lambda view: ((view.ticket > 0) is not had_loaded, view.attempts))
