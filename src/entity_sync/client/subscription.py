"""One watched key, as a program reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from entity_sync.client.replica import Replica
from entity_sync.client.state import State
from entity_sync.errors import EntitySyncError, NotRunning
from entity_sync.model import EntityKey

__all__ = ["Subscription"]


class Subscription:
    """Iterate over it for every newest state, or read `state`.

    A slow reader is shown the newest state and misses those in between. Several readers of one
    subscription share its states; for all of them each, subscribe as often as there are readers.

    Attributes:
        key: what is watched.
    """

    def __init__(self, key: EntityKey, replica: Replica, unsubscribe: Callable[[Subscription], None]) -> None:
        self.key = key
        self._replica = replica
        self._unsubscribe = unsubscribe
        self._changed = asyncio.Event()
        self._shown: State | None = None
        self._ended: EntitySyncError | None = None

    @property
    def state(self) -> State:
        """The newest state, which is empty and stale until the server has answered.

        Raises:
            Refusal: the server refused the subscription.
            NotRunning: the subscription is closed.
            ConnectionLost: the client is closed.
        """
        if self._ended is not None:
            raise self._ended
        return self._replica.state(self.key)

    async def next(self) -> State:
        """The next state that differs from the one this returned last; the first as soon as it is known.

        Raises:
            Refusal: the server refused the subscription.
            NotRunning: the subscription is closed.
            ConnectionLost: the client is closed.
        """
        while True:
            self._changed.clear()
            state = self.state
            if state != self._shown and self._replica.is_known(self.key):
                self._shown = state
                return state
            await self._changed.wait()

    async def reached(self, token: str) -> None:
        """Return once this subscription shows a state that covers the notify with this token.

        As `Client.reached`, which returns with the first of all subscriptions; here the others do not count.
        Bound the wait, as by ``asyncio.timeout(5)``, and then trust what is shown, for the reasons that are
        told there. Kept are the newest 256 tokens of a key, so ask soon after the token is known.

        Raises:
            Refusal: the server refused the subscription.
            NotRunning: the subscription is closed, or was closed meanwhile.
            ConnectionLost: the client is closed, or was closed meanwhile.
            RuntimeError: the client was not connected with ``receipts=True``.
        """
        self._replica.check_receipts()
        while True:
            self._changed.clear()
            if self._ended is not None:
                raise self._ended
            if self._replica.covers(self.key, token):
                return
            await self._changed.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> State:
        """`next`; iterating ends where the subscription is closed."""
        try:
            return await self.next()
        except NotRunning:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Watch no longer; who iterates comes to the end. Harmless when closed before."""
        if self._ended is None:
            self._unsubscribe(self)
            self.end(NotRunning(f"the subscription of {self.key} is closed"))

    def wake(self) -> None:
        """There may be news."""
        self._changed.set()

    def end(self, error: EntitySyncError) -> None:
        """There is no more news, because of this."""
        self._ended = error
        self._changed.set()
