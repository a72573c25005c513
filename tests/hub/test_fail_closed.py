"""`Settings.fail_closed`: whoever may have been revoked unheard is sent nothing until that is known."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from entity_sync import AccessDenied, ConnectionInfo, EntityKey, EntitySync, Settings
from entity_sync.brokers.base import Lost, Restored
from entity_sync.model import Wire
from entity_sync.testing import MemoryClient, connect
from tests.hub.virtual import in_virtual_time
from tests.simulation.broker import Bus, FaultyBroker


class Shop:
    """Orders, news for everybody, and whom the application knows no more."""

    def __init__(self, *, fail_closed: bool, has_users: bool = True) -> None:
        self.n = 0
        self.out: set[str] = set()
        self.broker = FaultyBroker(Bus(Random(4)))
        self.sync = EntitySync(self.broker, settings=Settings(fail_closed=fail_closed))
        self.sync.entity("orders", authorize=self.may)(self.load)
        self.sync.entity("news", public=True)(self.load)
        if has_users:
            self.sync.authenticate(self.who)

    async def load(self, id: str) -> int:
        return self.n

    async def may(self, user: str, key: EntityKey) -> bool:
        return user not in self.out

    async def who(self, secret: str | None, connection: ConnectionInfo) -> str:
        if secret is None or secret in self.out:
            raise AccessDenied
        return secret

    async def change(self) -> None:
        self.n += 1
        for entity in ("orders", "news"):
            await self.sync.notify(entity, "1")
        await asyncio.sleep(1)


async def subscribe(client: MemoryClient) -> None:
    body = [{"entity": entity, "id": "1"} for entity in ("orders", "news")]
    for key in body:
        await client.send({"action": "subscribe", "body": key})
    await asyncio.sleep(1)


def shown(client: MemoryClient) -> list[Any]:
    """The states that came, as their entity and value, in the order of their names."""
    found = []
    for message in client.pending():
        if message.get("event") == "snapshot":
            found.append((message["entity"], message["rows"][0]["data"]))
        elif message.get("event") in ("stale", "fresh", "denied"):
            found.append(message["event"])
    return sorted(found, key=str)


def states(client: MemoryClient) -> list[Any]:
    """The values that came, on whichever wire."""
    messages = client.pending()
    snapshots = [one for one in messages if isinstance(one, dict) and one["event"] == "snapshot"]
    return [one for one in messages if isinstance(one, int)] + [one["rows"][0]["data"] for one in snapshots]


@in_virtual_time
async def test_nothing_is_sent_while_the_broker_is_away():
    """The client is told that it is stale and no more; when the broker is back it gets the newest states."""
    shop = Shop(fail_closed=True)
    async with shop.sync:
        await asyncio.sleep(10)
        async with connect(shop.sync, secret="ann") as ann:
            await subscribe(ann)
            assert shown(ann) == [("news", 0), ("orders", 0)]
            cut = asyncio.ensure_future(shop.broker.cut(20))
            await asyncio.sleep(2)
            assert shown(ann) == ["stale"]
            await shop.change()
            async with connect(shop.sync, secret="ann") as late:
                await subscribe(late)
                assert shown(late) == ["stale"]
                assert shown(ann) == []
                await cut
                await asyncio.sleep(20)
                assert shown(ann) == [("news", 1), ("orders", 1), "fresh"]
                assert shown(late) == [("news", 1), ("orders", 1), "fresh"]
                await shop.change()
                assert shown(ann) == [("news", 2), ("orders", 2)]


@in_virtual_time
async def test_who_was_revoked_meanwhile():
    """Whoever the application knows no more when the broker is back is denied, and was sent nothing."""
    shop = Shop(fail_closed=True)
    async with shop.sync:
        await asyncio.sleep(10)
        async with connect(shop.sync, secret="ann") as ann:
            await subscribe(ann)
            shown(ann)
            cut = asyncio.ensure_future(shop.broker.cut(20))
            await asyncio.sleep(2)
            shop.out.add("ann")
            await shop.change()
            await cut
            await asyncio.sleep(20)
            assert shown(ann) == ["denied", "denied", "fresh", "stale"]


@in_virtual_time
async def test_open_by_default():
    """Without the setting states flow on, beside the word that they may be old."""
    shop = Shop(fail_closed=False)
    async with shop.sync:
        await asyncio.sleep(10)
        async with connect(shop.sync, secret="ann") as ann:
            await subscribe(ann)
            shown(ann)
            cut = asyncio.ensure_future(shop.broker.cut(20))
            await asyncio.sleep(2)
            await shop.change()
            assert shown(ann) == [("news", 1), ("orders", 1), "stale"]
            await cut


@pytest.mark.parametrize("wire", ["v2", "classic"])
def test_without_authenticate(wire: Wire):
    """A secret that is its own proof is asked about what it may see alone; the rest flows again too."""

    @in_virtual_time
    async def test() -> None:
        shop = Shop(fail_closed=True, has_users=False)
        async with shop.sync:
            await asyncio.sleep(10)
            async with connect(shop.sync, secret="ann", wire=wire) as ann:
                await subscribe(ann)
                ann.pending()
                cut = asyncio.ensure_future(shop.broker.cut(20))
                await asyncio.sleep(2)
                await shop.change()
                assert states(ann) == []
                await cut
                await asyncio.sleep(20)
                assert states(ann) == [1, 1]

    test()


@in_virtual_time
async def test_another_topic_is_lost():
    """Whatever was lost, nothing stays closed once all topics are confirmed again."""
    shop = Shop(fail_closed=True)
    async with shop.sync:
        await asyncio.sleep(10)
        async with connect(shop.sync, secret="ann") as ann:
            await subscribe(ann)
            shown(ann)
            for delivery in (Lost(frozenset({"news"})), Restored(frozenset({"news"}))):
                assert shop.broker._inbox is not None
                shop.broker._inbox.put_nowait(delivery)
                await asyncio.sleep(2)
            await shop.change()
            assert [one for one in shown(ann) if one != "stale"] == [("news", 1), ("orders", 1), "fresh"]
