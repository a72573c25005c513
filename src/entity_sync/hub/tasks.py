"""Background tasks that cannot end unnoticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["Tasks"]

_log = logging.getLogger("entity_sync")


class Tasks:
    """The tasks of one owner: an exception in one is logged when it happens, `close` ends all."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}  # ended in one order, whatever their addresses are

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine until it ends or `close`."""
        task = asyncio.get_running_loop().create_task(coroutine)
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
