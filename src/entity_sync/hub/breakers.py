"""Entities whose loads keep failing: they wait, and one load from time to time finds out whether to go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random

from entity_sync.clock import Clock, Timer
from entity_sync.core.breaker import Breaker, BreakerAction
from entity_sync.core.view import View
from entity_sync.errors import LoadFailed
from entity_sync.hub.attempts import Outcome
from entity_sync.hub.queues import Queue, probe
from entity_sync.settings import Settings

__all__ = ["Breakers"]

_log = logging.getLogger("entity_sync.loads")


class Breakers:
    """One breaker for each entity that has failed; the others have none, and cost a look-up."""

    def __init__(
        self,
        clock: Clock,
        settings: Settings,
        random: Random,
        waiting: Mapping[str, Queue],
        *,
        opened: Callable[[str], None],
        resumed: Callable[[], None],
    ) -> None:
        """
        Args:
            waiting: entity → the views that wait for a load.
            opened: called when no load of an entity may begin any more.
            resumed: called when one, or all, may begin again.
        """
        self._clock = clock
        self._settings = settings
        self._random = random
        self._waiting = waiting
        self._opened = opened
        self._resumed = resumed
        self._breakers: dict[str, Breaker] = {}
        self._timers: dict[str, Timer] = {}

    def admits(self, entity: str) -> bool:
        """Whether a load of this entity may begin now."""
        breaker = self._breakers.get(entity)
        return breaker is None or breaker.admits

    def holds(self, entity: str) -> bool:
        """Whether what is to be loaded of this entity waits."""
        breaker = self._breakers.get(entity)
        return breaker is not None and breaker.holds

    def begin(self, entity: str, ticket: int, queue: Queue) -> None:
        """A load begins, for the first in the queue: a probe is chosen, and put there."""
        breaker = self._breakers.get(entity)
        if breaker is not None:
            if breaker.holds:
                queue.prefer(probe(queue, had_loaded=breaker.pauses % 2 == 1))
            breaker.started(ticket)

    def judge(self, entity: str, ticket: int, views: Sequence[View], outcomes: Sequence[Outcome]) -> None:
        """What one call of the application's function, or one of a batch, says of the entity."""
        breaker = self._breakers.get(entity)
        if not all(isinstance(outcome, LoadFailed) and outcome.retryable for outcome in outcomes):
            if breaker is not None:
                self._act(entity, breaker, breaker.answered(ticket))
            return
        if breaker is None:
            breaker = self._breakers[entity] = Breaker(self._settings.breaker_failures)
        counts = any(view.ticket for view in views)
        self._act(entity, breaker, breaker.failed(ticket, counts=counts))

    def ended(self, entity: str, ticket: int) -> None:
        """A load is over, with an outcome that was judged or without one."""
        breaker = self._breakers.get(entity)
        if breaker is not None:
            self._act(entity, breaker, breaker.abandoned(ticket))

    def close(self) -> None:
        """Let nothing begin again."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _act(self, entity: str, breaker: Breaker, action: BreakerAction) -> None:
        if action is BreakerAction.PAUSE:
            self._pause(entity, breaker)
        elif action is BreakerAction.RESUME:
            if (timer := self._timers.pop(entity, None)) is not None:
                timer.cancel()
            if not breaker.holds:
                _log.info("loads of %s begin again", entity)
            self._resumed()

    def _pause(self, entity: str, breaker: Breaker) -> None:
        settings, number = self._settings, breaker.pauses
        delay = min(settings.max_breaker_pause, settings.breaker_pause * 2.0 ** min(number - 1, 30))
        delay *= self._random.uniform(0.5, 1.0)
        self._timers[entity] = self._clock.call_later(delay, lambda: self._elapsed(entity, breaker))
        if number == 1:
            _log.warning(
                "loads of %s failed %d times in a row: only one tries from time to time, and its clients "
                "are told that what they see may be old",
                entity,
                breaker.failures,
            )
            self._opened(entity)

    def _elapsed(self, entity: str, breaker: Breaker) -> None:
        del self._timers[entity]
        is_wanted = any(view.ticket for view in self._waiting.get(entity, ()))
        self._act(entity, breaker, breaker.elapsed(is_wanted=is_wanted))
