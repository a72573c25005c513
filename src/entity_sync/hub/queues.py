"""The views of one entity that wait for a load, and which of them the next one is for."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

from entity_sync.core.index import spelled
from entity_sync.core.view import View

__all__ = ["Queue", "probe", "together"]

Queue: TypeAlias = OrderedDict[View, None]
"""The one that waits longest is the first."""


def together(queue: Queue, most: int) -> dict[View, None]:
    """Take the view that waits longest out of the queue, and the next that one batch can load with it."""
    first = queue.popitem(last=False)[0]
    found = {first: None}
    if most > 1:
        audience = spelled(first.audience)
        for view in queue:
            if len(found) == most:
                break
            if spelled(view.audience) == audience:
                found[view] = None
        for view in list(found)[1:]:
            del queue[view]
    return found


def probe(queue: Queue, *, had_loaded: bool) -> View:
    """Which view to try: the one that failed least.

    By turns one that had been loaded before, which bad ids of a client have not been, and one that had not,
    so that those whose rows went bad do not keep out whoever comes.
    """
    return min(queue, key=lambda view: ((view.ticket > 0) is not had_loaded, view.attempts))
