"""Which notifies the shown states cover, and who waits for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from entity_sync.errors import EntitySyncError

__all__ = ["Receipts"]

_KEPT = 1_024


class Receipts:
    """The newest 1,024 tokens that were covered, and the callers that wait for others."""

    def __init__(self) -> None:
        self._covered: dict[str, None] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._ended: EntitySyncError | None = None

    def cover(self, tokens: Iterable[str]) -> None:
        """What is shown from now on covers these."""
        for token in tokens:
            self._covered[token] = None
            for waiting in self._waiting.pop(token, ()):
                if not waiting.done():
                    waiting.set_result(None)
        while len(self._covered) > _KEPT:
            del self._covered[next(iter(self._covered))]

    def end(self, error: EntitySyncError) -> None:
        """No more is covered, because of this."""
        self._ended = error
        for waiting in [each for some in self._waiting.values() for each in some if not each.done()]:
            waiting.set_exception(error)

    async def reached(self, token: str) -> None:
        """Return once this one is covered.

        Raises:
            EntitySyncError: it has come to an end before.
        """
        if token in self._covered:
            return
        if self._ended is not None:
            raise self._ended
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(token, []).append(waiting)
        try:
            await waiting
        finally:
            left = self._waiting.get(token)
            if left is not None:
                left.remove(waiting)
                if not left:
                    del self._waiting[token]
