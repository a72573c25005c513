"""Background tasks that cannot end unnoticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

from entity_sync.clock import Clock

__all__ = ["Tasks", "ends", "lazily"]

_Result = TypeVar("_Result")
_log = logging.getLogger("entity_sync")


def lazily(coroutine: Coroutine[Any, Any, _Result], context: Context | None = None) -> asyncio.Task[_Result]:
    """A task that takes its first step after whoever starts it has noted it down, also where the loop's task
    factory is eager.

    Args:
        context: the variables that it sees; those of whoever starts it by default.
    """
    return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), context=context)


async def ends(task: asyncio.Task[Any], clock: Clock, seconds: float) -> bool:
    """Whether the task ends within so many seconds; nothing is done to it, not even if nobody waits any more.

    As `asyncio.wait` of one task by a Clock, with a third of its objects: many of them are under way at a
    time, and each one brings the garbage collector nearer.
    """
    waiter = asyncio.get_running_loop().create_future()

    def wake(_task: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = clock.call_later(seconds, wake)
    task.add_done_callback(wake)
    try:
        await waiter
    finally:
        timer.cancel()
    return task.done()


class Tasks:
    """The tasks of one owner: an exception in one is logged when it happens, `close` ends all."""

    def __init__(self, context: Context | None = None) -> None:
        """
        Args:
            context: the variables that each task sees a copy of; those of whoever starts it by default.
        """
        self._context = context
        self._tasks: dict[asyncio.Task[Any], None] = {}  # ended in one order, whatever their addresses are

    def start(self, coroutine: Coroutine[Any, Any, Any], context: Context | None = None) -> asyncio.Task[Any]:
        """Run a coroutine until it ends or `close`, from the loop's next turn on.

        Args:
            context: as for `lazily`, in place of that of all tasks.
        """
        if context is None and self._context is not None:
            context = self._context.copy()
        task = lazily(coroutine, context)
        self._tasks[task] = None
        task.add_done_callback(self._ended, context=context)
        return task

    def cancel(self) -> None:
        """Ask all of them to end."""
        for task in list(self._tasks):
            task.cancel()

    async def close(self) -> None:
        """End all of them and return when they have ended."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a background task ended: %s", error, exc_info=error)
