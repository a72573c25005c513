"""Time as an argument: whoever needs it is given a Clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Timer", "is_cancelled", "timeout"]


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call; harmless when it already happened."""
        ...


class Clock(Protocol):
    """Monotonic time in seconds, the two ways of waiting for it, and what the calendar says."""

    def now(self) -> float:
        """Seconds since an arbitrary start; never falls."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 (UTC); somebody may set it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``; 0 lets everything that is ready run first."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the running loop after ``seconds``."""
        ...


class SystemClock:
    """The running event loop's own time, so a loop with virtual time brings its clock along."""

    def now(self) -> float:
        """Seconds of the running loop's clock."""
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """Seconds of the machine's clock."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep in the running loop."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Schedule in the running loop."""
        return asyncio.get_running_loop().call_later(seconds, callback)


def timeout(clock: Clock, seconds: float) -> AbstractAsyncContextManager[None]:
    """`asyncio.timeout` by a Clock; what is inside may have made something else of the cancellation.

    Raises:
        TimeoutError: what is inside took longer than ``seconds``.
    """
    return _Timeout(clock, seconds)


def is_cancelled() -> bool:
    """Whether somebody wants this task to end. A CancelledError without that comes from what it awaits, which
    cancelled itself.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class _Timeout:
    """No generator: those make something else of some exceptions that pass through them."""

    __slots__ = ("_before", "_clock", "_has_expired", "_seconds", "_task", "_timer")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._has_expired = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._before = task.cancelling()
        self._timer = self._clock.call_later(self._seconds, self._expire)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: object
    ) -> None:
        self._timer.cancel()
        # Whatever became of our cancellation, nothing later may take it for one from outside.
        is_over = self._has_expired and self._task.uncancel() <= self._before
        if is_over and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from None

    def _expire(self) -> None:
        self._has_expired = True
        self._task.cancel()
