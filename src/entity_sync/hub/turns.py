"""Turns of the loop for long work: one slice in each, whoever's it is."""

from __future__ import annotations

import asyncio
from functools import partial
from heapq import heappop, heappush
from itertools import count

from entity_sync.loading.slices import Pause

__all__ = ["Turns"]


class Turns:
    """Lets those that wait go on one by one, so that many at a time keep the loop no longer than one.

    Whoever came first goes on until it has ended: if all took turns, all would end last, and too late.
    """

    def __init__(self) -> None:
        self._places = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._is_due = False

    def place(self) -> Pause:
        """The place of one that comes now: returns at a turn of the loop that nobody else is given."""
        return partial(self._wait, next(self._places))

    async def _wait(self, place: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (place, next(self._places), turn))
        self._call()
        await turn

    def _call(self) -> None:
        if self._waiting and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._is_due = False
        while self._waiting:
            _place, _count, turn = heappop(self._waiting)
            if not turn.done():  # it is, where whoever waited was cancelled
                turn.set_result(None)
                break
        self._call()
