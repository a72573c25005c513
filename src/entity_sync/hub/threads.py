"""Threads for the application's plain functions, of which one may never return."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread
from typing import Any, NamedTuple

__all__ = ["Threads"]


class _Job(NamedTuple):
    future: Future[Any]
    context: Context
    function: Callable[..., Any]
    arguments: tuple[object, ...]

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.context.run(self.function, *self.arguments)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Threads:
    """As a `concurrent.futures.ThreadPoolExecutor`, but a process ends without waiting for them: a function
    that hangs in a database would keep it for ever.
    """

    def __init__(self, most: int, name: str) -> None:
        """
        Args:
            most: threads at a time; each is begun when it is needed, and kept.
        """
        self._most = most
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = Semaphore(0)
        self._begun = 0

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Have a thread call it, in a copy of the context variables of whoever asks."""
        future: Future[Any] = Future()
        self._jobs.put(_Job(future, copy_context(), function, arguments))
        if not self._idle.acquire(blocking=False) and self._begun < self._most:
            self._begun += 1
            Thread(target=self._work, name=f"{self._name}_{self._begun}", daemon=True).start()
        return future

    def close(self) -> None:
        """Begin nothing more; whoever waits for what had not begun is told that it is cancelled."""
        with suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                job.future.cancel()
        for _ in range(self._begun):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # an idle thread holds nothing of the application's
            self._idle.release()
