"""Loading many views again, paced: after a gap, or because all of them hold one row that changed.

What is asked for together is a set. Sets of about one size stand in one queue, and the queues take turns, a
batch each: a set waits for earlier ones of about its size, and for one batch of each other queue at each of
its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, takewhile

from entity_sync.clock import Clock, Timer
from entity_sync.core.loadstate import LoadState
from entity_sync.core.view import View

__all__ = ["Pacing"]

_INTERVAL = 0.02  # seconds between batches, about


class Pacing:
    """The views that have to be loaded again, and when the last of them has been."""

    def __init__(
        self,
        clock: Clock,
        rate: float,
        find: Callable[[int], View | None],
        reload: Callable[[View], None],
        finished: Callable[[], None],
    ) -> None:
        """
        Args:
            rate: views per second.
            find: the view that has this number.
            reload: has a view loaded by an attempt that begins now or later.
            finished: called when every view has been loaded again, or has failed.
        """
        self._clock = clock
        self._most = max(1, round(rate * _INTERVAL))
        self._interval = self._most / rate
        self._left = self._most  # views that may begin before the next batch is due
        self._find = find
        self._reload = reload
        self._finished = finished
        # By size of the set: the numbers of views, and since when; a view may stand in several. Of the views
        # themselves each young garbage collection would visit all, 10,000 in 20 ms.
        self._waiting: dict[int, dict[int, float]] = {}
        self._reloading: dict[View, int] = {}
        self._timer: Timer | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is left to load again."""
        return not self._waiting and not self._reloading

    def add(self, views: Iterable[View]) -> None:
        """Load this set again, the first ones first; `finished` follows even if there are none.

        A view that waits already keeps its place.
        """
        asked = dict.fromkeys((view.number for view in views), self._clock.now())
        if asked:
            queue = self._waiting.setdefault(_size(len(asked)), asked)
            if queue is not asked:
                for number, now in asked.items():
                    queue.setdefault(number, now)
        self._next()

    def settled(self, view: View) -> None:
        """The view has the result of an attempt, or its failure has been told."""
        ticket = self._reloading.get(view)
        if ticket is not None and (view.begun > ticket or _is_told(view)):
            del self._reloading[view]
            self._check()

    def drop(self, view: View) -> None:
        """Nobody watches this view any more."""
        waited = self._leave(view.number)
        reloaded = self._reloading.pop(view, None) is not None
        if waited or reloaded:
            self._check()

    def waits(self, view: View) -> bool:
        """Whether this view is still to be loaded again."""
        return view in self._reloading or any(view.number in queue for queue in self._waiting.values())

    def overdue(self, before: float) -> Iterator[tuple[View, float]]:
        """The views that wait since before a moment of the clock, and since when."""
        for queue in self._waiting.values():
            for number, since in takewhile(lambda one: one[1] <= before, queue.items()):
                if (view := self._find(number)) is not None:
                    yield view, since

    def close(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._reloading.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _next(self) -> None:
        for number in self._batch():
            self._leave(number)
            if (view := self._find(number)) is None:
                continue
            self._reloading[view] = view.begun  # first: its load may end before this call returns
            self._reload(view)
            if _is_told(view):
                self._reloading.pop(view, None)
        if self._timer is None and self._left < self._most:
            self._timer = self._clock.call_later(self._interval, self._due)
        self._check()

    def _due(self) -> None:
        self._timer, self._left = None, self._most
        if self._waiting:
            self._next()

    def _batch(self) -> Iterable[int]:
        """Of one queue as many as go into it, then of the next; those served come last next time."""
        batch: dict[int, None] = {}
        for size in list(self._waiting):
            if len(batch) == self._left:
                break
            queue = self._waiting[size] = self._waiting.pop(size)
            batch.update(dict.fromkeys(islice(queue, self._left - len(batch))))
        self._left -= len(batch)
        return batch

    def _leave(self, number: int) -> bool:
        """Have it wait no longer; whether it did."""
        stood = [size for size, queue in self._waiting.items() if number in queue]
        for size in stood:
            del self._waiting[size][number]
            if not self._waiting[size]:
                del self._waiting[size]
        return bool(stood)

    def _check(self) -> None:
        if self.idle:
            self._finished()


def _size(count: int) -> int:
    """Alike for sets of which the largest is less than eight times the smallest."""
    return count.bit_length() // 3


def _is_told(view: View) -> bool:
    """Whether its clients know that it fails, until a load has succeeded that has yet to begin."""
    return view.failure is not None and view.state is LoadState.QUEUED
