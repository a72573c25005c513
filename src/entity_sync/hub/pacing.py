"""Loading many views again, paced: after a gap, or because all of them hold one row that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from entity_sync.clock import Clock, Timer
from entity_sync.core.loadstate import LoadState
from entity_sync.core.view import View

__all__ = ["Pacing"]

_INTERVAL = 0.02  # seconds between batches


class Pacing:
    """The views that have to be loaded again, and when the last of them has been."""

    def __init__(
        self, clock: Clock, rate: float, reload: Callable[[View], None], finished: Callable[[], None]
    ) -> None:
        """
        Args:
            rate: views per second.
            reload: has a view loaded by an attempt that begins now or later.
            finished: called when every view has been loaded again, or has failed.
        """
        self._clock = clock
        self._batch = max(1, round(rate * _INTERVAL))
        self._reload = reload
        self._finished = finished
        self._waiting: dict[View, None] = {}
        self._reloading: dict[View, int] = {}
        self._timer: Timer | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is left to load again."""
        return not self._waiting and not self._reloading

    def add(self, views: Iterable[View]) -> None:
        """Load these again, the first ones first; `finished` follows even if there are none."""
        for view in views:
            self._waiting[view] = None
        if self._timer is None:
            self._next()

    def settled(self, view: View) -> None:
        """The view has the result of an attempt, or its failure has been told."""
        ticket = self._reloading.get(view)
        if ticket is not None and (view.running > ticket or _is_told(view)):
            del self._reloading[view]
            self._check()

    def drop(self, view: View) -> None:
        """Nobody watches this view any more."""
        waited = self._waiting.pop(view, view) is None
        reloaded = self._reloading.pop(view, None) is not None
        if waited or reloaded:
            self._check()

    def waits(self, view: View) -> bool:
        """Whether this view is still to be loaded again."""
        return view in self._waiting or view in self._reloading

    def close(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._reloading.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _next(self) -> None:
        self._timer = None
        for view in list(self._waiting)[: self._batch]:
            del self._waiting[view]
            ticket = view.running
            self._reload(view)
            if not _is_told(view):
                self._reloading[view] = ticket
        if self._waiting:
            self._timer = self._clock.call_later(_INTERVAL, self._next)
        self._check()

    def _check(self) -> None:
        if self.idle:
            self._finished()


def _is_told(view: View) -> bool:
    """Whether its clients know that it fails, until a load has succeeded that has yet to begin."""
    return view.failure is not None and view.state is LoadState.QUEUED
