"""Time as an argument: whoever needs it is given a Clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

__all__ = ["Clock", "SystemClock", "Timer", "timeout"]


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


@asynccontextmanager
async def timeout(clock: Clock, seconds: float) -> AsyncGenerator[None, None]:
    """`asyncio.timeout` by a Clock.

    Raises:
        TimeoutError: what is inside took longer than ``seconds``.
    """
    task = asyncio.current_task()
    assert task is not None
    has_expired = False

    def expire() -> None:
        nonlocal has_expired
        has_expired = True
        task.cancel()

    before = task.cancelling()
    timer = clock.call_later(seconds, expire)
    try:
        yield
    except asyncio.CancelledError:
        if has_expired and task.uncancel() <= before:
            raise TimeoutError from None
        raise
    except BaseException:
        if has_expired:  # what is inside made something else of our cancellation
            task.uncancel()
        raise
    else:
        if has_expired:
            task.uncancel()
    finally:
        timer.cancel()
