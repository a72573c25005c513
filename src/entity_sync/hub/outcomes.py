"""What a load gave: taken into its view and told; or why it failed, and whether it is tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

from entity_sync.clock import Clock
from entity_sync.core.loaded import Loaded, Unusable
from entity_sync.core.loadstate import Cause, LoadAction, LoadState
from entity_sync.core.view import View
from entity_sync.errors import LoadFailed
from entity_sync.hub.fences import Fences
from entity_sync.hub.parting import Outcome, is_news
from entity_sync.hub.refreshes import Refreshes
from entity_sync.loading.catalog import Catalog
from entity_sync.settings import Settings

__all__ = ["Outcomes"]

_log = logging.getLogger("entity_sync.loads")
_PERIOD = 600.0  # seconds after which failures are counted from one again, so that new ones are seen
_MOST_REASONS = 1_024


class Outcomes:
    """Whatever a load gave, its view is left so that it is loaded when it has to be."""

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        settings: Settings,
        refreshes: Refreshes,
        *,
        fits: Callable[[View, Loaded], bool],
        depend: Callable[[View, Loaded], bool],
        settled: Callable[[View, bool], None],
        enqueue: Callable[[View], None],
        trigger: Callable[[View, Cause], None],
        waits: Callable[[View], bool],
    ) -> None:
        """
        Args:
            fits, depend, settled: as for `Loads`.
            enqueue: has a view whose state is QUEUED wait for a load.
            trigger: has a view loaded by an attempt that begins later.
            waits: whether a view waits for a load already.
        """
        self._catalog = catalog
        self._clock = clock
        self._settings = settings
        self._refreshes = refreshes
        self._fences = Fences(clock)
        self._notes = _Notes(clock)
        self._fits = fits
        self._depend = depend
        self._settled = settled
        self._enqueue = enqueue
        self._trigger = trigger
        self._waits = waits

    def take(self, view: View, outcome: Outcome) -> float | None:
        """Take it, and tell whoever watches.

        Returns:
            the seconds after which the view is to be loaded again, None where it is not.
        """
        try:
            result = self._fences.judged(view, self._that_fits(view, outcome))
            if isinstance(result, LoadFailed):
                return self._failed(view, result)
            self._succeeded(view, result)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody shows something old unaware of it
            _log.error("what a load of %s gave could not be taken", view.key, exc_info=error)
            if view.is_loading:
                return self._failed(view, LoadFailed(type(error).__name__, retryable=True))
            if view.state is LoadState.QUEUED and not self._waits(view):
                return self._settings.retry_delay
        return None

    def _that_fits(self, view: View, outcome: Outcome) -> Outcome:
        kept = outcome.found if isinstance(outcome, Unusable) else outcome
        if isinstance(kept, LoadFailed) or self._fits(view, kept):
            return outcome
        return LoadFailed("the server has no memory for its rows now", code="busy", retryable=True)

    def _succeeded(self, view: View, result: Loaded) -> None:
        if view.failure is not None:
            _log.info("load of %s succeeds again", view.key)
        self._catalog.warn_unheard(view.key, result)
        is_overtaken = self._depend(view, result)
        news, action = view.succeed(result)
        try:
            self._settled(view, news)
        finally:
            if action is LoadAction.ENQUEUE:
                self._enqueue(view)
            if is_overtaken:
                self._overtaken(view)
            self._refreshes.succeeded(view)

    def _overtaken(self, view: View) -> None:
        """Something that it depends on changed since the load began, and a replica may not have that yet."""
        if view.fence is not None:
            view.fence.doubt(self._clock.now())
        self._trigger(view, Cause.DEPENDENCY)

    def _failed(self, view: View, error: LoadFailed) -> float | None:
        """Returns the seconds after which it is to be tried again, None where it is not."""
        settings = self._settings
        attempts = view.attempts + 1
        told = not error.retryable or attempts >= settings.load_attempts
        if told:
            self._note(view, error)
        if error.retryable:
            view.postpone()
        else:
            self._give_up(view, error)
        if told or view.failure is not None:  # whoever waits for what becomes of it may know that already
            self._settled(view, told)
        if not error.retryable:
            return None
        return settings.retry_after(attempts)

    def _give_up(self, view: View, error: LoadFailed) -> None:
        is_overtaken = isinstance(error, Unusable) and self._depend(view, error.found)
        if view.give_up() is LoadAction.ENQUEUE:
            self._enqueue(view)
        if is_overtaken:
            self._overtaken(view)
        self._refreshes.failed(view)

    def _note(self, view: View, error: LoadFailed) -> None:
        reason = error.code, error.retryable, type(error.__cause__)  # a text may differ at each try
        if view.fail(error.code, str(error), reason) and is_news(error):
            entity = view.key.entity
            count = self._notes.count((entity, *reason))
            if count.bit_count() == 1:  # 1, 2, 4, 8 …: a client asks for as many keys as it likes
                others = "" if count == 1 else f" ({count} of {entity} like it so far)"
                _log.warning("load of %s failed: %s%s", view.key, error, others, exc_info=error.__cause__)


class _Notes:
    """How often loads failed for a reason of late; that others of the entity succeed says nothing of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[Hashable, int] = {}
        self._until = 0.0

    def count(self, reason: Hashable) -> int:
        """How often with this one."""
        now = self._clock.now()
        if now >= self._until:
            self._counts.clear()
            self._until = now + _PERIOD
        if reason not in self._counts and len(self._counts) >= _MOST_REASONS:
            reason = None  # all others together
        self._counts[reason] = count = self._counts.get(reason, 0) + 1
        return count
