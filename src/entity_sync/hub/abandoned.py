"""Calls of load functions that nobody waits for any more, and that have not ended."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from entity_sync.clock import Clock, Timer, timeout

__all__ = ["Abandoned"]

_log = logging.getLogger("entity_sync.loads")


class Abandoned:
    """A function may hang in a database, or in its own clean-up: it is left alone, and counted.

    An entity that has as many of them as it may have loads begins no other call until one ends: it holds that
    many of the application's connections, perhaps.
    """

    def __init__(self, clock: Clock, most: int) -> None:
        """
        Args:
            most: calls that one entity may have left behind before no other begins.
        """
        self._clock = clock
        self._most = most
        self._counts: dict[str, int] = {}
        self._returns: dict[str, asyncio.Event] = {}
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._timers: dict[asyncio.Task[Any], Timer] = {}

    def holds(self, entity: str) -> bool:
        """Whether no call for this entity may begin now."""
        return self._counts.get(entity, 0) >= self._most

    async def left_when_free(self, entity: str, seconds: float) -> float:
        """Of so many seconds, those that are left once a call for this entity may begin; 0 if none may."""
        began = self._clock.now()
        try:
            async with timeout(self._clock, seconds):
                while self.holds(entity):
                    await self._returns.setdefault(entity, asyncio.Event()).wait()
        except TimeoutError:
            return 0.0
        return began + seconds - self._clock.now()

    def add_task(self, entity: str, task: asyncio.Task[Any], patience: float) -> None:
        """A coroutine that has to end.

        Args:
            patience: seconds after which it is told so again: its clean-up may be what hangs.
        """
        self._begin(entity)
        self._tasks[task] = entity
        self._cancel(task, patience)

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

    async def ended(self, seconds: float) -> None:
        """Return once no coroutine is left, so that what they use may be closed; for a bounded time."""
        try:
            async with timeout(self._clock, seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            names = ", ".join(sorted(set(self._tasks.values())))
            _log.warning("%d loads of %s did not end within %g s", len(self._tasks), names, seconds)

    def _cancel(self, task: asyncio.Task[Any], patience: float) -> None:
        task.cancel()
        self._timers[task] = self._clock.call_later(patience, lambda: self._cancel(task, patience))

    def _begin(self, entity: str) -> None:
        self._counts[entity] = self._counts.get(entity, 0) + 1

    def _end(self, entity: str) -> None:
        self._counts[entity] -= 1
        if (returns := self._returns.pop(entity, None)) is not None:
            returns.set()
