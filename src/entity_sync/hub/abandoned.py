"""Calls of load functions that nobody waits for any more, and that have not ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from entity_sync.clock import Clock, Timer, timeout

__all__ = ["Abandoned"]

_log = logging.getLogger("entity_sync.loads")


class Abandoned:
    """A function may hang in a database, or in its own clean-up: it is left alone, and counted.

    It holds one of the application's connections, perhaps, so it keeps its entity's place.
    """

    def __init__(
        self,
        clock: Clock,
        most: int,
        timeout_of: Callable[[str], float],
        *,
        stuck: Callable[[str], None],
        freed: Callable[[], None],
    ) -> None:
        """
        Args:
            most: places of one entity.
            timeout_of: seconds that one call for an entity may take.
            stuck: called where calls have held all places of an entity for that long.
            freed: called when a place is free again.
        """
        self._clock = clock
        self._most = most
        self._timeout_of = timeout_of
        self._stuck = stuck
        self._freed = freed
        self._counts: dict[str, int] = {}
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._timers: dict[asyncio.Task[Any], Timer] = {}
        self._alarms: dict[str, Timer] = {}  # of those whose places are all held
        self._told: set[str] = set()

    def count(self, entity: str) -> int:
        """How many calls for this entity have not ended."""
        return self._counts.get(entity, 0)

    def is_stuck(self, entity: str) -> bool:
        """Whether they hold all its places, and `stuck` has told so."""
        return entity in self._told

    def add_task(self, entity: str, task: asyncio.Task[Any]) -> None:
        """A coroutine that has to end, and is told so again each time that its clean-up may be what hangs."""
        self._begin(entity)
        self._tasks[task] = entity
        self._cancel(entity, task)

        def returned(_task: asyncio.Task[Any]) -> None:
            self._timers.pop(task).cancel()
            del self._tasks[task]
            self._end(entity)

        task.add_done_callback(returned)

    def add_thread(self, entity: str, future: Future[Any]) -> None:
        """A plain function that runs in a thread, which nothing can end."""
        loop = asyncio.get_running_loop()
        self._begin(entity)

        def returned(_future: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._end, entity)

        future.add_done_callback(returned)

    async def close(self, seconds: float) -> None:
        """Return once no coroutine is left, so that what they use may be closed; for a bounded time."""
        try:
            async with timeout(self._clock, seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            names = ", ".join(sorted(set(self._tasks.values())))
            _log.warning("%d loads of %s did not end within %g s", len(self._tasks), names, seconds)
        for timer in (*self._timers.values(), *self._alarms.values()):
            timer.cancel()

    def _cancel(self, entity: str, task: asyncio.Task[Any]) -> None:
        task.cancel()
        again = self._timeout_of(entity)
        self._timers[task] = self._clock.call_later(again, lambda: self._cancel(entity, task))

    def _begin(self, entity: str) -> None:
        self._counts[entity] = self.count(entity) + 1
        if self._counts[entity] == self._most:
            patience = self._timeout_of(entity)
            self._alarms[entity] = self._clock.call_later(patience, lambda: self._tell(entity))

    def _tell(self, entity: str) -> None:
        self._told.add(entity)
        count = self._counts[entity]
        _log.warning("%d loads of %s never ended, and hold every place that it may have", count, entity)
        self._stuck(entity)

    def _end(self, entity: str) -> None:
        self._counts[entity] -= 1
        if self._counts[entity] == self._most - 1:
            self._alarms.pop(entity).cancel()
            self._told.discard(entity)
        self._freed()
