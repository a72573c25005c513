"""Background tasks that cannot end unnoticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

__all__ = ["Tasks", "lazily"]

_Result = TypeVar("_Result")
_log = logging.getLogger("entity_sync")


def lazily(coroutine: Coroutine[Any, Any, _Result], context: Context | None = None) -> asyncio.Task[_Result]:
    """A task that takes its first step after whoever starts it has noted it down, also where the loop's task
    factory is eager.

    Args:
        context: the variables that it sees; those of whoever starts it by default.
    """
    return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), context=context)


class Tasks:
    """The tasks of one owner: an exception in one is logged when it happens, `close` ends all."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}  # ended in one order, whatever their addresses are

    def start(self, coroutine: Coroutine[Any, Any, Any], context: Context | None = None) -> asyncio.Task[Any]:
        """Run a coroutine until it ends or `close`, from the loop's next turn on.

        Args:
            context: as for `lazily`.
        """
        task = lazily(coroutine, context)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
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
