"""Views that are loaded again unasked: they are told to be, or read what may have been behind."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random

from entity_sync.clock import Clock
from entity_sync.core.loadstate import Cause
from entity_sync.core.view import View
from entity_sync.hub.delays import Delays
from entity_sync.loading.catalog import Catalog

__all__ = ["Refreshes"]


class Refreshes:
    """When each of them is loaded next."""

    def __init__(
        self, catalog: Catalog, clock: Clock, random: Random, trigger: Callable[[View, Cause], None]
    ) -> None:
        """
        Args:
            trigger: has a view loaded.
        """
        self._catalog = catalog
        self._clock = clock
        self._random = random
        self._trigger = trigger
        self._delays = Delays(clock, self._elapsed)

    def succeeded(self, view: View) -> None:
        """A load gave rows: the next one is due after the interval, or when replicas have what is known."""
        due = inf if view.fence is None or view.as_of >= view.fence.due else view.fence.due
        self._add(view, due)

    def failed(self, view: View) -> None:
        """A load failed and is not tried again: the next one is due when it was, or as after a success."""
        due = inf if view.fence is None else view.fence.failed(view.began, self._clock.now())
        if due < inf or view not in self._delays:
            self._add(view, due)

    def drop(self, view: View) -> None:
        """Nobody watches the view any more."""
        self._delays.drop(view)

    def close(self) -> None:
        """Forget all of them."""
        self._delays.close()

    def _add(self, view: View, due: float) -> None:
        delay = min(self._interval(view), max(0.0, due - self._clock.now()))
        if delay < inf:
            self._delays.drop(view)
            self._delays.add([view], delay)

    def _interval(self, view: View) -> float:
        interval = self._catalog[view.key.entity].refresh_every
        return inf if interval is None else interval * self._random.uniform(0.9, 1.1)

    def _elapsed(self, view: View) -> None:
        # Somebody may wait for what a replica had by now: whoever does is told, even if nothing is new.
        is_due = view.fence is not None and view.as_of < view.fence.due
        self._trigger(view, Cause.SUBSCRIBE if is_due else Cause.REREAD)
