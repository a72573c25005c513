"""What a client is told while the application is asked for long who it is, or what it may see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from entity_sync import ConnectionInfo, EntitySync, Settings
from entity_sync.model import EntityKey
from entity_sync.testing import FakeClock, MemoryClient, connect

STALE = ("stale", "broker")
FRESH = ("fresh", None)


class Shop:
    """An application whose answers take as long as the test says."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.sync = EntitySync(clock=self.clock, settings=Settings(authenticate_timeout=600.0, **settings))
        self.seconds = 0.0
        self.number = 1
        self.asked: dict[str, int] = {}
        self.sync.authenticate(self.who)
        self.sync.entity("items", authorize=self.may)(self.load)
        self.sync.entity("others", authorize=self.may)(self.load)

    async def who(self, secret: str | None, connection: ConnectionInfo) -> str:
        await self.clock.sleep(self.seconds)
        return secret or ""

    async def may(self, user: str, key: EntityKey) -> bool:
        self.asked[user] = self.asked.get(user, 0) + 1
        await self.clock.sleep(self.seconds if key.entity == "items" else 0.0)
        return True

    async def load(self, id: str) -> int:
        return self.number

    async def change(self) -> None:
        self.number += 1
        await self.sync.notify("items", "1")
        await self.clock.advance(0)


@asynccontextmanager
async def watching(shop: Shop) -> AsyncIterator[MemoryClient]:
    async with shop.sync, connect(shop.sync, secret="ann") as client:
        await shop.clock.advance(1)
        await client.subscribe("items", "1")
        await shop.clock.advance(1)
        client.pending()
        yield client


def told(client: MemoryClient) -> list[Any]:
    """Event, and what is said of why or which."""
    messages = [one for one in client.pending() if one["event"] != "beat"]
    return [(one["event"], one.get("reason") or one.get("code") or one.get("id")) for one in messages]


async def test_asked_for_long_what_it_may_see():
    """After ``stale_after`` of withheld states it is told; the answer brings the state, and then fresh."""
    shop = Shop()
    async with watching(shop) as client:
        shop.seconds = 40.0
        await shop.sync.reauthorize("ann")
        await shop.change()
        await shop.clock.advance(14)
        assert told(client) == []
        await shop.clock.advance(2)
        assert told(client) == [STALE]
        await shop.clock.advance(30)
        assert told(client) == [("snapshot", "1"), FRESH]


async def test_asked_again_and_again():
    """Questions that each end the one before are one time in which nothing is sent."""
    shop = Shop()
    async with watching(shop) as client:
        shop.seconds = 2.0
        for _ in range(20):
            await shop.sync.reauthorize("ann")
            await shop.change()
            await shop.clock.advance(1)
        assert told(client) == [STALE]
        await shop.clock.advance(3)
        assert told(client) == [("snapshot", "1"), FRESH]


async def test_asked_for_long_who_it_is():
    """The age that it is told counts from the question, and a node that is stale says no second word."""
    shop = Shop()
    async with watching(shop) as client:
        shop.seconds = 20.0
        shop.sync.node.principals.doubt()
        await shop.change()
        await shop.clock.advance(16)
        [stale] = [one for one in client.pending() if one["event"] == "stale"]
        assert 15_000 <= stale["age_ms"] <= 16_000
        shop.seconds = 0.0
        await shop.clock.advance(10)
        assert told(client) == [("snapshot", "1"), FRESH]


async def test_who_comes_back_with_a_copy():
    """A client that waits for its first answer holds an old state perhaps: it is told, too."""
    shop = Shop()
    async with watching(shop) as client:
        shop.seconds = 40.0
        await client.subscribe("items", "2")
        await shop.clock.advance(16)
        assert told(client) == [("ack", None), STALE]
        await client.send({"action": "unsubscribe", "body": {"entity": "items", "id": "2"}})
        await shop.clock.advance(0)
        assert told(client) == [("ack", None), FRESH]


async def test_who_waits_for_two_answers():
    """The time of the first counts for the second: it is told once there is somebody to tell."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        shop.seconds = 20.0
        await client.send({"action": "secret", "body": "ann"})
        await client.subscribe("items", "1")
        await shop.clock.advance(21)
        [stale] = [one for one in client.pending() if one["event"] == "stale"]
        assert 20_000 <= stale["age_ms"] <= 21_000
        await shop.clock.advance(20)
        assert told(client) == [("snapshot", "1"), FRESH]


async def test_fresh_waits_for_the_state_of_the_new_audience():
    """Who is somebody else now is owed a load of theirs, which may take long."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(authenticate_timeout=600.0))
    tenant, seconds = "a", 0.0

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        await clock.sleep(seconds)
        return tenant

    @sync.entity("items")
    async def item(id: str, tenant: str) -> str:
        await clock.sleep(8.0 if tenant == "b" else 0.0)
        return tenant

    async with sync, connect(sync, secret="ann") as client:
        await client.subscribe("items", "1")
        await clock.advance(1)
        client.pending()
        tenant, seconds = "b", 20.0
        sync.node.principals.doubt()
        await clock.advance(22)
        assert told(client) == [STALE]
        await clock.advance(8)
        assert told(client) == [("snapshot", "1"), FRESH]


async def test_fresh_after_an_outage_waits_for_withheld_states():
    """A link that is back says nothing of keys about which somebody is still being asked."""
    shop = Shop()
    async with watching(shop) as client:
        node = shop.sync.node
        node._lost()
        await shop.clock.advance(1)
        assert told(client) == [STALE]
        shop.seconds = 9.0
        await shop.sync.reauthorize("ann")
        await shop.change()
        node._resynced()
        await shop.clock.advance(5)
        assert told(client) == []
        await shop.clock.advance(5)
        assert told(client) == [("snapshot", "1"), FRESH]


async def test_quick_answers_are_no_news():
    """Rights that are asked for from time to time, and quickly, are not told of."""
    shop = Shop()
    async with watching(shop) as client:
        for _ in range(10):
            await shop.clock.advance(60)
            await shop.sync.reauthorize("ann")
        assert told(client) == []


async def test_one_connection_leaves_places_for_others():
    """However many of its questions hang, those of another are asked at once."""
    shop = Shop(max_questions=16)
    async with watching(shop) as client, connect(shop.sync, secret="bob") as other:
        shop.seconds = 500.0
        await client.subscribe("items", *map(str, range(100)))
        await shop.clock.advance(1)
        await other.subscribe("others", "1")
        await shop.clock.advance(1)
        assert ("snapshot", "1") in told(other)
        assert shop.asked["ann"] == 1 + 2


async def test_what_is_asked_ends_before_what_it_uses_is_closed():
    """A question that takes its time to end is waited for by an orderly stop."""
    events: list[str] = []
    begun = asyncio.Event()

    @asynccontextmanager
    async def pool(_app: object) -> AsyncIterator[None]:
        yield
        events.append("pool closed")

    sync = EntitySync(lifespan=pool)

    @sync.on_message
    async def answer(_message: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            events.append("rolled back")

    async with sync:
        client = MemoryClient.of(sync)
        await client.send({"action": "message", "body": 1})
        await begun.wait()
    assert events == ["rolled back", "pool closed"]


async def test_nobody_is_told_who_has_left():
    """Questions that end because their client is gone leave no word for it."""
    shop = Shop()
    async with watching(shop) as client:
        shop.seconds = 40.0
        await client.subscribe("items", "2", "3")
        await shop.clock.advance(1)
        client.leave()
        assert client._connection.outbox.idle
