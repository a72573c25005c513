"""Running loads: never two of one view at once, bounded in number, fair between entities."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from itertools import chain
from random import Random

from entity_sync.clock import Clock, Timer
from entity_sync.core.loaded import Loaded
from entity_sync.core.loadstate import Cause, LoadAction
from entity_sync.core.view import View
from entity_sync.hub.attempts import Attempts
from entity_sync.hub.breakers import Breakers
from entity_sync.hub.delays import Delays
from entity_sync.hub.outcomes import Outcomes
from entity_sync.hub.queues import Queue
from entity_sync.hub.refreshes import Refreshes
from entity_sync.hub.tasks import Tasks
from entity_sync.loading.catalog import Catalog
from entity_sync.settings import Settings

__all__ = ["Loads"]

_GATHER = 0.005  # seconds; `EntitySync.entity` says it
_PATIENT = Cause.NOTIFY | Cause.DEPENDENCY | Cause.REREAD
"""Causes that wait for a view's ``min_interval``: nobody is left without a state meanwhile."""


@dataclass(slots=True, eq=False)
class _Run:
    """A running load.

    Attributes:
        views: whom it is for: one, or those of a batch that are watched still.
        ticket: its number.
    """

    views: dict[View, None]
    task: asyncio.Task[None] | None = None
    ticket: int = 0


class Loads:
    """Starts the load a view needs, retries it, and tells `settled` what became of it.

    Attributes:
        ticket: the number of the newest attempt; a later attempt has a larger one.
    """

    def __init__(
        self,
        catalog: Catalog,
        clock: Clock,
        settings: Settings,
        random: Random,
        *,
        begun: Callable[[View], None],
        fits: Callable[[View, Loaded], bool],
        depend: Callable[[View, Loaded], bool],
        settled: Callable[[View, bool], None],
    ) -> None:
        """
        Args:
            begun: called as an attempt begins.
            fits: whether there is memory for a result.
            depend: called with a result, to watch what it depends on; says whether some of that
                changed since the attempt began, so that another one must follow.
            settled: called with a view that has a result or a failure to be told, and with whether
                there is news for its subscriptions.
        """
        self.ticket = 0
        self._catalog = catalog
        self._clock = clock
        self._settings = settings
        self._random = random
        self._begun = begun
        self._settled = settled
        self._waiting: dict[str, Queue] = {}
        self._running: dict[str, int] = {}
        self._total = 0
        self._runs: dict[View, _Run] = {}
        self._tasks = Tasks()
        self._delays = Delays(clock, self._enqueue)
        self._refreshes = Refreshes(catalog, clock, random, self.trigger)
        self._attempts = Attempts(catalog, clock, settings, stuck=self._hold_all, freed=self._fill)
        self._outcomes = Outcomes(
            catalog, clock, settings, self._refreshes, fits=fits, depend=depend, settled=settled,
            enqueue=self._enqueue, trigger=self.trigger, waits=self._waits,
        )  # fmt: skip
        self._breakers = Breakers(
            clock, settings, random, self._waiting, opened=self._hold_all, resumed=self._fill
        )
        self._gathering: dict[str, Timer] = {}
        self._context = copy_context()  # one for all runs: what is the application's has one of its own

    @property
    def idle(self) -> bool:
        """Whether no load runs, or waits (for a place or a time) without its failure having been told."""
        is_waiting = any(queue and not self._is_held(name) for name, queue in self._waiting.items())
        is_delayed = any(not view.attempts or view.failure is None for view in self._delays)
        return not (self._runs or is_waiting or is_delayed)

    def overdue(self, before: float) -> list[View]:
        """The views whose load was asked for before a moment of the clock, and has not ended."""
        delayed = (view for view in self._delays if view.attempts)  # others keep their `min_interval`
        due = chain(self._runs, *self._waiting.values(), delayed)
        return [view for view in due if view.triggered_at <= before]

    def trigger(self, view: View, cause: Cause) -> None:
        """Have the view loaded by an attempt that begins after this call."""
        is_due = view.trigger(cause, self._clock.now()) is LoadAction.ENQUEUE
        is_patient = cause in _PATIENT or view.attempts
        if is_due or (not is_patient and self._delays.drop(view)):
            self._enqueue(view)

    def drop(self, view: View) -> None:
        """Nobody watches the view any more: its load's place is for others."""
        self._delays.drop(view)
        self._refreshes.drop(view)
        if (run := self._runs.pop(view, None)) is not None:
            del run.views[view]
            if not run.views and run.task is not None:
                run.task.cancel()
        elif (queue := self._waiting.get(view.key.entity)) is not None:
            queue.discard(view)

    async def close(self) -> None:
        """Stop everything, and return when it has stopped; plain functions in threads end by themselves."""
        self._waiting.clear()
        for timer in self._gathering.values():
            timer.cancel()
        self._breakers.close()
        self._delays.close()
        self._refreshes.close()
        await self._tasks.close()
        await self._attempts.close()

    def _enqueue(self, view: View) -> None:
        loader = self._catalog[view.key.entity]
        pause = view.began + loader.min_interval - self._clock.now()
        if loader.min_interval and pause > 0 and not view.attempts and view.causes in _PATIENT:
            self._delays.add([view], pause)
            return
        self._waiting.setdefault(view.key.entity, Queue()).add(view)
        if self._is_held(view.key.entity):
            self._hold(view)
        if loader.batch is None:
            self._fill()
            return
        if loader.name not in self._gathering:
            self._gather(loader.name)

    def _gather(self, entity: str) -> None:
        """Let others come along: those of this turn of the loop, or while loads run those of a few more."""
        gathered = partial(self._gathered, entity)
        if self._running.get(entity):
            self._gathering[entity] = self._clock.call_later(_GATHER, gathered)
        else:
            self._gathering[entity] = asyncio.get_running_loop().call_soon(gathered)

    def _gathered(self, entity: str) -> None:
        if (timer := self._gathering.pop(entity, None)) is not None:
            timer.cancel()
        self._fill()

    def _fill(self) -> None:
        """Start what there is room for, one of each waiting entity in turn."""
        progress = True
        while progress and self._total < self._settings.max_loads:
            progress = False
            for entity in [name for name, queue in self._waiting.items() if queue]:
                taken = self._running.get(entity, 0) + self._attempts.left(entity)
                is_full = taken >= self._settings.max_entity_loads
                if not is_full and entity not in self._gathering and self._breakers.admits(entity):
                    queue = self._waiting[entity] = self._waiting.pop(entity)  # to the end of the row
                    self._start(entity, queue)
                    progress = True
                if self._total >= self._settings.max_loads:
                    return

    def _start(self, entity: str, queue: Queue) -> None:
        self.ticket += 1
        self._breakers.begin(entity, self.ticket, queue)
        run = _Run(queue.take(self._catalog[entity].batch or 1), ticket=self.ticket)
        for view in run.views:
            view.start(self.ticket, self._clock.now())
            self._begun(view)
            self._runs[view] = run
        self._total += 1
        self._running[entity] = self._running.get(entity, 0) + 1
        run.task = self._tasks.start(self._run(entity, run), self._context)
        run.task.add_done_callback(partial(self._release, entity, run), context=self._context)

    def _waits(self, view: View) -> bool:
        return view in self._delays or view in self._waiting.get(view.key.entity, ())

    def _release(self, entity: str, run: _Run, _task: asyncio.Task[None]) -> None:
        for view in run.views:
            self._runs.pop(view, None)
        self._total -= 1
        self._running[entity] -= 1
        self._breakers.ended(entity, run.ticket)
        self._gathered(entity)

    async def _run(self, entity: str, run: _Run) -> None:
        views = list(run.views)
        keys = [view.key for view in views]
        tried = max(view.attempts for view in views)
        outcomes = await self._attempts.load(self._catalog[entity], keys, views[0].audience, tried)
        self._breakers.judge(entity, run.ticket, views, outcomes)
        jitter = self._random.uniform(0.5, 1.0)
        again: dict[float, list[View]] = {}  # one timer for all: what failed together is tried together
        for view, outcome in zip(views, outcomes, strict=True):
            if view not in run.views:
                continue  # nobody watches it any more
            del run.views[view], self._runs[view]
            delay = self._outcomes.take(view, outcome)
            if delay is not None:
                again.setdefault(delay * jitter, []).append(view)
        for delay, failed in again.items():
            if self._breakers.holds(entity):
                for view in failed:
                    self._enqueue(view)
            else:
                self._delays.add(failed, delay)

    def _hold_all(self, entity: str) -> None:
        """No load of this entity begins for now, not even one that was to be tried again."""
        queue = self._waiting.setdefault(entity, Queue())
        for view in self._delays.of(entity):
            if view.attempts:
                self._delays.drop(view)
                queue.add(view)
        for view in queue:
            self._hold(view)

    def _is_held(self, entity: str) -> bool:
        """Whether what is to be loaded of this entity waits for something that may take for ever."""
        return self._breakers.holds(entity) or self._attempts.is_stuck(entity)

    def _hold(self, view: View) -> None:
        """It waits until loads of its entity succeed, or end: whoever watches it is told so."""
        if view.failure is None:
            view.fail("load", f"no load of {view.key.entity} begins for now")
            self._settled(view, True)
