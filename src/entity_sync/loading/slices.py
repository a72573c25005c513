"""Long work in slices: the same steps at once in a thread, or with turns for others in between on the loop.

A slice ends by what was done and not by a clock, so that a seed of the simulation is one run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from typing import TypeAlias, TypeVar

__all__ = ["BYTES", "ROWS", "Pause", "Slice", "Steps", "at_no_time", "at_once", "in_turns"]

_Result = TypeVar("_Result")

ROWS = 256
"""Rows of a slice: a millisecond, or six where each needs a closer look."""
BYTES = 131_072
"""Bytes of a slice, as JSON."""

Steps: TypeAlias = Generator[None, None, _Result]
"""Work that yields where others may have a turn."""

Pause: TypeAlias = Callable[[], Awaitable[None]]
"""Returns when it is one's turn again."""


class Slice:
    """Counts what is done without a pause."""

    __slots__ = ("_bytes", "_rows")

    def __init__(self) -> None:
        self._rows = self._bytes = 0

    def ends(self, size: int) -> bool:
        """One more row, of so many bytes: whether the slice ends, and another begins."""
        self._rows += 1
        self._bytes += size
        if self._rows < ROWS and self._bytes < BYTES:
            return False
        self._rows = self._bytes = 0
        return True


async def at_no_time() -> None:
    """A `Pause` that is none."""


def at_once(steps: Steps[_Result]) -> _Result:
    """The result, without any pause."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def in_turns(steps: Steps[_Result], pause: Pause) -> _Result:
    """The result, with a pause after each slice."""
    with closing(steps):
        try:
            while True:
                next(steps)
                await pause()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
