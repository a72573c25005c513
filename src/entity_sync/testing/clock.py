"""A clock that a test moves."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

__all__ = ["FakeClock"]

_TURNS = 20  # turns of the loop after which what a timer set off has usually run


class _Due:
    """A call that is due later."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """A `Clock` that stands still until `advance`; hand it to ``EntitySync(clock=…)``."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = count()
        self._due: list[tuple[float, int, _Due]] = []

    def now(self) -> float:
        """Seconds advanced so far."""
        return self._now

    def wall(self) -> float:
        """The same: the fake calendar begins in 1970."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once the test has advanced that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: done.set_result(None))
        try:
            await done
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> _Due:
        """Call back once the test has advanced that far; at the loop's next turn for 0."""
        due = _Due(self._now + seconds, callback)
        if seconds <= 0:
            asyncio.get_running_loop().call_soon(lambda: due.callback and due.callback())
        else:
            heapq.heappush(self._due, (due.when, next(self._order), due))
        return due

    async def advance(self, seconds: float) -> None:
        """Let this much time pass, in order, giving whatever becomes due its turns of the loop."""
        until = self._now + seconds
        await _turns()
        while self._due and self._due[0][0] <= until:
            self._now, _, due = heapq.heappop(self._due)
            if due.callback is not None:
                due.callback()
                await _turns()
        self._now = until
        await _turns()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
