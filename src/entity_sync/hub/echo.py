"""Hearing oneself: whether the link to the broker still carries, whatever its library says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from entity_sync.clock import Clock, timeout
from entity_sync.errors import BrokerUnavailable

__all__ = ["Echo"]


class Echo:
    """Sends numbers to itself through the broker, and notices when one does not come back.

    A connection into a black hole stays open for minutes, and some client libraries never notice.

    Attributes:
        confirmed: when the newest number that came back was sent; the link carried everything then.
    """

    def __init__(
        self, clock: Clock, interval: float, patience: float, send: Callable[[int], Awaitable[None]]
    ) -> None:
        """
        Args:
            interval: seconds between two numbers.
            patience: seconds a number may take.
            send: publishes a number where only this node listens.
        """
        self.confirmed = clock.now()
        self._clock = clock
        self._interval = interval
        self._patience = patience
        self._send = send
        self._number = 0
        self._came_back = asyncio.Event()

    def heard(self, number: int) -> None:
        """A number came back."""
        if number == self._number:
            self._came_back.set()

    async def watch(self, confirmed: Callable[[], None], is_up: Callable[[], bool]) -> None:
        """Watch a new connection for as long as numbers come back.

        Args:
            confirmed: called when the first came back.
            is_up: where the link says itself that it is down, later numbers are not sent.

        Raises:
            BrokerUnavailable: one did not come back.
        """
        await self._expect(lambda: True)
        confirmed()
        while True:
            await self._clock.sleep(max(0.0, self.confirmed + self._interval - self._clock.now()))
            if is_up():
                await self._expect(is_up)
            else:
                await self._clock.sleep(self._interval)

    async def _expect(self, is_up: Callable[[], bool]) -> None:
        try:
            async with timeout(self._clock, self._patience):
                await self._probe()
        except TimeoutError:
            if is_up():
                raise BrokerUnavailable(
                    f"what this node sends to itself has not come back for {self._patience:g} s"
                ) from None

    async def _probe(self) -> None:
        self._number += 1
        self._came_back.clear()
        sent = self._clock.now()
        await self._send(self._number)
        await self._came_back.wait()
        self.confirmed = sent
