"""An event loop whose time passes only when nothing is left to run: same seed, same run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from itertools import count
from typing import Any, TypeVar

_T = TypeVar("_T")


class Deadlock(Exception):
    """Everything waits and nothing is due."""


class _Call(asyncio.TimerHandle):
    """A call that is due: of what asyncio's own handles hold, only what it takes to run and to cancel it."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._when, self._callback, self._args = when, callback, args
        self._loop, self._context, self._cancelled = loop, context, False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = None, ()  # type: ignore[assignment]

    def _run(self) -> None:
        try:
            if self._context is None:
                self._callback(*self._args)
            else:
                self._context.run(self._callback, *self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does
            self._loop.call_exception_handler({"message": f"in {self._callback}", "exception": error})


class VirtualLoop(asyncio.BaseEventLoop):
    """No selector, no sockets, no threads: waiting for a timer moves the clock to it at once.

    Half of a world's cost was asyncio's own bookkeeping of timers; here those of one moment keep their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now = 0.0
        self._timers: list[tuple[float, int, _Call]] = []
        self._order = count()
        self.failures: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.failures.append(context))

    def time(self) -> float:
        return self._virtual_now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self._check_closed()  # type: ignore[attr-defined]
        call = _Call(self._virtual_now, callback, args, self, context)
        self._ready.append(call)  # type: ignore[attr-defined]
        return call

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        call = _Call(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._order), call))
        return call

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._virtual_now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not ready:
            if not timers:
                raise Deadlock
            self._virtual_now = max(self._virtual_now, timers[0][0])
        while timers and timers[0][0] <= self._virtual_now:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            call = ready.popleft()
            if not call._cancelled:
                call._run()

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run(main: Coroutine[Any, Any, _T]) -> tuple[_T, list[dict[str, Any]]]:
    """Run to the end; returns the result and what reached the loop's exception handler."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(None)
        result = loop.run_until_complete(main)
        return result, loop.failures
    finally:
        loop.close()
