"""`EntitySync.watched`: who watches what, told to operators without rows and secrets."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

import pytest

from entity_sync import EntitySync, NotRunning, Row, ViewInfo
from entity_sync.testing import FakeClock, MemoryClient, connect, settled


@dataclass
class User:
    key: str
    tenant: str


def shop(**options: Any) -> EntitySync:
    sync = EntitySync(**options)

    @sync.authenticate
    async def who(secret: str | None, connection: object) -> User:
        return User(secret or "nobody", "north")

    @sync.entity("news", public=True)
    async def news(id: str) -> dict[str, str] | None:
        return None if id == "absent" else {"text": "é"}

    @sync.entity("shelf", per=lambda user: user.tenant)
    async def shelf(id: str, tenant: str) -> list[Row]:
        return [Row("news", "1", 1), Row("news", "2", "two")]

    @sync.entity("basket")
    async def basket(id: str, key: str) -> str:
        return id

    return sync


async def watch(client: MemoryClient, entity: str, id: str) -> None:
    await client.subscribe(entity, id)
    await client.receive_until("snapshot")


async def test_outside_the_lifespan():
    """Where nothing runs nothing can be watched, and that is told."""
    with pytest.raises(NotRunning):
        shop().watched()


async def test_every_view_in_order():
    """Views come in the order of their keys, each with its subscribers, and leave with the last of them."""
    async with shop() as sync, connect(sync) as first, connect(sync) as second:
        assert sync.watched() == []
        for client, entity, id in [(first, "news", "b"), (first, "news", "a"), (second, "news", "b")]:
            await watch(client, entity, id)
        assert [(info.entity, info.id, info.subscribers) for info in sync.watched()] == [
            ("news", "a", 1),
            ("news", "b", 2),
        ]
        second.leave()
        assert [info.subscribers for info in sync.watched()] == [1, 1]
        await first.send({"action": "unsubscribe", "body": {"entity": "news", "id": "b"}})
        await first.receive_until("ack")
        assert [info.id for info in sync.watched()] == ["a"]


async def test_state_of_a_view():
    """Number, rev and version are those that clients were sent; the size is that of its rows."""
    async with shop() as sync, connect(sync) as client:
        await client.subscribe("news", "a")
        sent = await client.receive_until("snapshot")
        assert sync.watched() == [
            ViewInfo(
                number=sent["view"],
                entity="news",
                id="a",
                audience="everyone",
                subscribers=1,
                rev=1,
                version=sent["version"],
                rows=1,
                size=len('{"data":{"text":"é"}},'.encode()),
                is_loading=False,
                is_stale=False,
            )
        ]


async def test_a_view_that_has_not_been_loaded():
    """Before its first load a view is watched, with no rows and no version."""
    sync = shop()

    @sync.entity("slow", public=True)
    async def slow(id: str) -> str:
        await asyncio.Event().wait()
        return id

    async with sync, connect(sync) as client:
        await client.subscribe("slow", "a")
        await client.receive_until("ack")
        [info] = sync.watched()
        assert (info.rows, info.size, info.rev, info.version, info.is_loading) == (0, 0, 0, None, True)


async def test_rows_of_a_view():
    """The rows are counted and their bytes added; what is gone has none, and a version."""
    async with shop() as sync, connect(sync) as client:
        for entity, id in [("news", "absent"), ("shelf", "bread")]:
            await watch(client, entity, id)
        gone, shelf = sync.watched()
        assert (gone.rows, gone.size, gone.rev, gone.version is None) == (0, 0, 1, False)
        assert (shelf.rows, shelf.size) == (
            2,
            len('{"data":1,"entity":"news","id":"1"},{"data":"two","entity":"news","id":"2"},'),
        )


async def test_audience_holds_no_secret():
    """What `per` makes is shown; a principal's key, which may be a secret, only as a digest."""
    async with shop() as sync, connect(sync) as client:
        await client.send({"action": "secret", "ref": 1, "body": "hunter2"})
        for entity in ("news", "shelf", "basket"):
            await watch(client, entity, "1")
        digest = hashlib.sha256(b"hunter2").hexdigest()[:16]
        assert {info.entity: info.audience for info in sync.watched()} == {
            "basket": f"principal {digest}",
            "news": "everyone",
            "shelf": "'north'",
        }
        assert "hunter2" not in repr(sync.watched())


async def test_raw_secret_is_not_shown():
    """Without `authenticate` the audience is the secret itself: that too is shown as a digest."""
    sync = EntitySync()

    @sync.entity("basket")
    async def basket(id: str, secret: str) -> str:
        return id

    async with sync, connect(sync) as client:
        await client.send({"action": "secret", "ref": 1, "body": "hunter2"})
        await watch(client, "basket", "1")
        assert "hunter2" not in repr(sync.watched())


async def test_loads_that_run_and_fail():
    """A view says that it loads, and that its loads fail, until one succeeds."""
    clock = FakeClock()
    sync = EntitySync(clock=clock)
    may_answer = asyncio.Event()
    is_broken = True

    @sync.entity("news")
    async def news(id: str) -> str:
        await may_answer.wait()
        if is_broken:
            raise OSError("the database is away")
        return id

    async with sync, connect(sync) as client:
        await client.subscribe("news", "a")
        await client.receive_until("ack")
        [info] = sync.watched()
        assert (info.is_loading, info.is_stale, info.rev, info.version) == (True, False, 0, None)
        may_answer.set()
        while not any(event["event"] == "stale" for event in client.pending()):
            await clock.advance(60)
            await settled(sync)
        [info] = sync.watched()
        assert (info.is_loading, info.is_stale) == (True, True)
        is_broken = False
        await clock.advance(60)
        await client.receive_until("snapshot")
        [info] = sync.watched()
        assert (info.is_loading, info.is_stale, info.rev) == (False, False, 1)
