"""Two nodes on a real broker, clients that watch them, a writer, and what must hold in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

from entity_sync import EntitySync, Settings
from entity_sync.brokers.base import Broker
from entity_sync.model import Wire
from entity_sync.testing import MemoryClient, connect

__all__ = ["SHORT", "World", "world"]

SHORT = Settings(
    beat_interval=0.4, stale_after=3.0, echo_interval=0.4, echo_timeout=0.6, gap_grace=0.4, gap_interval=0.5,
    quiet_after=0.2, alive_interval=0.5, publish_timeout=1.0, retry_delay=0.05,
)  # fmt: skip
"""Faults are over within a second here, so everything that waits for them is shorter too."""


class Watcher:
    """A client that keeps what it is shown, and complains when that goes backwards."""

    def __init__(self, name: str, client: MemoryClient, complain: Callable[[str], None], news: asyncio.Event):
        self.name = name
        self.shown: dict[str, int] = {}
        self.is_stale = False
        self.was_stale = asyncio.Event()
        self._client = client
        self._complain = complain
        self._news = news

    async def subscribe(self, ids: list[str]) -> None:
        for id in ids:
            await self._client.send({"action": "subscribe", "body": {"entity": "items", "id": id}})

    async def follow(self) -> None:
        while True:
            message = await self._client.receive()
            rows = [row["data"] for row in message.get("rows", ())] or ([message] if "n" in message else [])
            for row in rows:
                self._show(row["id"], row["n"])
            if message.get("event") in {"stale", "fresh"} and "view" not in message:
                self.is_stale = message["event"] == "stale"
                if self.is_stale:
                    self.was_stale.set()
            self._news.set()

    def _show(self, id: str, n: int) -> None:
        if n < self.shown.get(id, 0):
            self._complain(f"{self.name} went back from {self.shown[id]} to {n} at {id}")
        self.shown[id] = n


class World:
    """What `world` makes.

    Attributes:
        rows: the truth.
        violations: what broke a promise.
        receipts: how many notifies were accepted, and how many deferred.
    """

    def __init__(self, brokers: list[str | Broker], settings: Settings, seed: int, keys: int) -> None:
        self.random = Random(seed)
        self.rows = {str(number): 0 for number in range(keys)}
        self.violations: list[str] = []
        self.receipts = {"accepted": 0, "deferred": 0}
        self.syncs = [self._node(broker, settings) for broker in brokers]
        self.watchers: list[Watcher] = []
        self._news = asyncio.Event()
        self._serial = 0
        self._notifying: set[asyncio.Task[None]] = set()

    def _node(self, broker: str | Broker, settings: Settings) -> EntitySync:
        sync = EntitySync(broker, settings=settings)

        @sync.entity("items")
        async def item(id: str) -> dict[str, Any]:
            n = self.rows[id]
            await asyncio.sleep(self.random.uniform(0, 0.005))
            return {"id": id, "n": n}

        return sync

    async def watch(self, stack: AsyncExitStack, number: int, wire: Wire) -> None:
        client = await stack.enter_async_context(connect(self.syncs[number], wire=wire))
        watcher = Watcher(f"{wire} client of node {number}", client, self.violations.append, self._news)
        self.watchers.append(watcher)
        following = asyncio.create_task(watcher.follow())
        stack.callback(following.cancel)
        await watcher.subscribe(list(self.rows))

    @asynccontextmanager
    async def commits(self, per_second: float) -> AsyncGenerator[None]:
        """Commit and notify while inside, through either node."""
        writing = asyncio.create_task(self._write(per_second))
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await asyncio.gather(*self._notifying)

    def commit(self, through: int | None = None) -> None:
        """One commit, and its notify in the background, for it may wait: through this node or any."""
        self._serial += 1
        id = self.random.choice(list(self.rows))
        self.rows[id] = self._serial
        sync = self.random.choice(self.syncs) if through is None else self.syncs[through]
        task = asyncio.create_task(self._notify(sync, id))
        self._notifying.add(task)
        task.add_done_callback(self._notifying.discard)

    async def until(self, holds: Callable[[], bool], within: float) -> float:
        """Wait for it; returns the seconds it took, infinity if it did not come."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(within):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return float("inf")
        return loop.time() - started

    def is_true(self) -> bool:
        """Whether every client shows the truth, and none says stale."""
        return not self.stale_views and not any(watcher.is_stale for watcher in self.watchers)

    @property
    def stale_views(self) -> list[str]:
        """What is shown and is not the truth; a classic client that was never pushed a key shows nothing."""
        return [
            f"{watcher.name} shows {id} at {watcher.shown.get(id)}, not {n}"
            for watcher in self.watchers
            for id, n in self.rows.items()
            if watcher.shown.get(id, n if watcher.name.startswith("classic") else None) != n
        ]

    async def _write(self, per_second: float) -> None:
        while True:
            self.commit()
            await asyncio.sleep(self.random.expovariate(per_second))

    async def _notify(self, sync: EntitySync, id: str) -> None:
        receipt = await sync.notify("items", id)
        self.receipts[receipt.status] += 1


@asynccontextmanager
async def world(
    *brokers: str | Broker, settings: Settings = SHORT, seed: int = 1, keys: int = 5, is_started: bool = True
) -> AsyncGenerator[World]:
    """Nodes on these brokers, each with a v2 client, the last with a classic one too.

    Args:
        is_started: wait until every client shows the truth; without a broker none will.
    """
    async with AsyncExitStack() as stack:
        found = World(list(brokers), settings, seed, keys)
        for sync in found.syncs:
            await stack.enter_async_context(sync)
        for number in range(len(brokers)):
            await found.watch(stack, number, "v2")
        await found.watch(stack, len(brokers) - 1, "classic")
        if is_started:
            assert await found.until(found.is_true, 10.0) < 10.0, found.stale_views
        yield found
