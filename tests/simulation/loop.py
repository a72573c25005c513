"""An event loop whose time passes only when nothing is left to run: same seed, same run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class Deadlock(Exception):
    """Everything waits and nothing is due."""


class VirtualLoop(asyncio.BaseEventLoop):
    """No selector, no sockets, no threads: waiting for a timer moves the clock to it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_now = 0.0
        self._selector = self
        self.failures: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.failures.append(context))

    def time(self) -> float:
        return self._virtual_now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock
        self._virtual_now += timeout
        return []

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
