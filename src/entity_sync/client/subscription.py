"""One watched key, as a program reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from entity_sync.client.replica import Replica, State
from entity_sync.model import EntityKey

__all__ = ["Subscription"]


class Subscription:
    """Iterate over it for every newest state, or read `state`.

    A slow reader is shown the newest state and misses those in between.

    Attributes:
        key: what is watched.
    """

    def __init__(
        self,
        key: EntityKey,
        replica: Replica,
        check_open: Callable[[], None],
        unsubscribe: Callable[[Subscription], None],
    ) -> None:
        self.key = key
        self._replica = replica
        self._check_open = check_open
        self._unsubscribe = unsubscribe
        self._changed = asyncio.Event()
        self._shown: State | None = None

    @property
    def state(self) -> State:
        """The newest state.

        Raises:
            Refusal: the server refused the subscription.
        """
        return self._replica.state(self.key)

    async def next(self) -> State:
        """The next state that differs from the one this returned last.

        Raises:
            Refusal: the server refused the subscription.
            ConnectionLost: the client is closed.
        """
        while True:
            self._changed.clear()
            self._check_open()
            if self._replica.has_answer(self.key) and (state := self.state) != self._shown:
                self._shown = state
                return state
            await self._changed.wait()

    async def __aiter__(self) -> AsyncIterator[State]:
        while True:
            yield await self.next()

    def wake(self) -> None:
        """There may be news."""
        self._changed.set()

    def close(self) -> None:
        """Watch no longer."""
        self._unsubscribe(self)
