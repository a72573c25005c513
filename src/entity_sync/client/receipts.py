"""Which notifies the shown states cover, and who waits for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from entity_sync.errors import EntitySyncError

__all__ = ["Covered", "Receipts"]

_KEPT, _KEPT_OF_ONE = 1_024, 256


class Covered:
    """The newest tokens that what is shown covers."""

    __slots__ = ("_kept", "_tokens")

    def __init__(self, kept: int = _KEPT_OF_ONE) -> None:
        self._kept = kept
        self._tokens: dict[str, None] = {}

    def __contains__(self, token: str) -> bool:
        return token in self._tokens

    def add(self, tokens: Iterable[str]) -> None:
        """These are covered from now on; the oldest beyond the number kept are forgotten."""
        self._tokens.update(dict.fromkeys(tokens))
        while len(self._tokens) > self._kept:
            del self._tokens[next(iter(self._tokens))]


class Receipts:
    """The newest 1,024 tokens that were covered, and the callers that wait for others."""

    def __init__(self) -> None:
        self._covered = Covered(_KEPT)
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._ended: EntitySyncError | None = None

    def cover(self, tokens: Collection[str]) -> None:
        """What is shown from now on covers these."""
        self._covered.add(tokens)
        for token in tokens:
            for waiting in self._waiting.pop(token, ()):
                if not waiting.done():
                    waiting.set_result(None)

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
