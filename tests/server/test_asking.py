"""Asking the application again who a client is, while its own store of that may be away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from entity_sync import AccessDenied, ConnectionInfo, EntitySync
from entity_sync.model import ClientMessage, Wire
from entity_sync.testing import FakeClock, MemoryClient, connect

STALE = ("stale", "broker")


class Shop:
    """An application whose store of sessions is away when the test says so."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sync = EntitySync(clock=self.clock)
        self.fails: Exception | None = None
        self.asked: list[str | None] = []
        self.number = 1
        self.sync.authenticate(self.who)
        self.sync.on_message(self.answer)
        self.sync.entity("items", public=True)(self.load)

    async def who(self, secret: str | None, connection: ConnectionInfo) -> str:
        self.asked.append(secret)
        if self.fails is not None:
            raise self.fails
        return secret or ""

    async def answer(self, message: Any) -> Any:
        return message.json()

    async def load(self, id: str) -> int:
        return self.number

    async def doubt(self) -> None:
        """What a gap on the topic of rights leads to."""
        self.sync.node.principals.doubt()
        await self.clock.advance(0)

    async def change(self) -> None:
        self.number += 1
        await self.sync.notify("items", "1")
        await self.clock.advance(0)


@asynccontextmanager
async def watching(shop: Shop, wire: Wire = "v2") -> AsyncIterator[MemoryClient]:
    async with shop.sync, connect(shop.sync, secret="ann", wire=wire) as client:
        await shop.clock.advance(1)
        await client.subscribe("items", "1")
        await shop.clock.advance(1)
        client.pending()
        yield client


def told(client: MemoryClient) -> list[Any]:
    """Event, and what is said of why or which."""
    messages = [one for one in client.pending() if one["event"] != "beat"]
    return [(one["event"], one.get("reason") or one.get("code") or one.get("id")) for one in messages]


async def test_asked_until_there_is_an_answer():
    """A store that is away for a while denies nobody: the client is told that it may be old, nothing flows
    until somebody answers, and each wait is longer than the one before."""
    shop = Shop()
    async with watching(shop) as client:
        shop.fails = ConnectionError("no store of sessions")
        await shop.doubt()
        assert told(client) == [STALE]
        await shop.change()
        shop.asked.clear()
        await shop.clock.advance(5)
        assert 4 <= len(shop.asked) <= 8
        assert told(client) == []
        shop.fails = None
        await shop.clock.advance(10)
        assert told(client) == [("snapshot", "1"), ("fresh", None)]
        shop.asked.clear()
        await shop.clock.advance(60)
        assert shop.asked == []
        await shop.change()
        assert told(client) == [("snapshot", "1")]


async def test_told_since_when():
    """The age in `stale` counts from when the question began; the next doubt has its own."""
    shop = Shop()
    async with watching(shop) as client:
        for _ in range(2):
            shop.fails = TimeoutError()
            await shop.doubt()
            [stale] = [one for one in client.pending() if one["event"] == "stale"]
            assert stale["age_ms"] == 0
            shop.fails = None
            await shop.clock.advance(20)
            assert told(client) == [("current", "1"), ("fresh", None)]


async def test_a_refusal_is_final():
    """Who is somebody no more, once the store is back, is denied; and not asked about again."""
    shop = Shop()
    async with watching(shop) as client:
        shop.fails = ConnectionError()
        await shop.doubt()
        shop.fails = AccessDenied()
        await shop.clock.advance(10)
        assert told(client) == [STALE, ("denied", "denied"), ("fresh", None)]
        shop.asked.clear()
        await shop.clock.advance(60)
        assert shop.asked == []


async def test_a_new_secret_takes_the_place_of_the_question():
    """It is asked about at once, is answered as any other, and the old one is asked about no more."""
    shop = Shop()
    async with watching(shop) as client:
        shop.fails = ConnectionError()
        await shop.doubt()
        shop.asked.clear()
        await client.send({"action": "secret", "ref": 1, "body": "bob"})
        await shop.clock.advance(0)
        assert shop.asked == ["bob"]
        assert told(client) == [STALE, ("error", "busy"), ("denied", "busy"), ("fresh", None)]
        await shop.clock.advance(60)
        assert shop.asked == ["bob"]
        shop.fails = None
        await client.send({"action": "secret", "body": "bob"})
        await shop.clock.advance(0)
        assert told(client) == [("ack", None), ("snapshot", "1")]


async def test_what_is_asked_for_meanwhile():
    """A key is `busy` and shown later, a message is `busy`, a ping is answered."""
    shop = Shop()
    async with watching(shop) as client:
        shop.fails = ConnectionError()
        await shop.doubt()
        told(client)
        await client.subscribe("items", "2")
        await client.send({"action": "message", "body": 1})
        await client.send({"action": "ping"})
        await shop.clock.advance(0)
        assert told(client) == [("ack", None), ("denied", "busy"), ("error", "busy"), ("pong", None)]
        shop.fails = None
        await shop.clock.advance(10)
        assert sorted(told(client)) == [("current", "1"), ("fresh", None), ("snapshot", "2")]


@pytest.mark.parametrize("ends", ["at once", "with its answer"])
async def test_a_task_that_it_cancels(ends: str, caplog: pytest.LogCaptureFixture):
    """A function that cancels the task it runs in gave no answer, of which the client is told; it is asked
    again. An answer given all the same counts.
    """
    shop, cancels = Shop(), False

    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        nonlocal cancels
        if cancels:
            cancels = False
            own = asyncio.current_task()
            assert own is not None
            own.cancel()
            if ends == "at once":
                shop.asked.append(secret)
                await asyncio.Event().wait()
        return await shop.who(secret, connection)

    shop.sync.authenticate(who)
    async with watching(shop) as client:
        shop.asked.clear()
        cancels = True
        await shop.doubt()
        if ends == "at once":
            assert told(client) == [STALE]
            assert "authenticate gave no answer: it cancelled its own task" in caplog.text
            await shop.clock.advance(1)
            assert told(client) == [("current", "1"), ("fresh", None)]
            assert shop.asked == ["ann", "ann"]
        else:
            assert told(client) == [("current", "1")]
            assert not caplog.records
            assert shop.asked == ["ann"]


async def test_nobody_is_asked_about_who_left():
    """The question ends with its connection."""
    shop = Shop()
    async with watching(shop) as client:
        shop.fails = ConnectionError()
        await shop.doubt()
        client.leave()
        shop.asked.clear()
        await shop.clock.advance(60)
        assert shop.asked == []


async def test_classic_is_told_nothing():
    """It has no word for it: what changed is pushed when somebody answers."""
    shop = Shop()
    async with watching(shop, "classic") as client:
        shop.fails = ConnectionError()
        await shop.doubt()
        await shop.change()
        await shop.clock.advance(5)
        assert client.received == []
        shop.fails = None
        await shop.clock.advance(10)
        assert client.received == ["2"]


async def test_asked_in_the_context_of_the_handshake():
    """Who a client is, and what it says, is handled in that whenever it comes, also after a gap."""
    place: ContextVar[str] = ContextVar("place", default="nowhere")
    shop, seen = Shop(), list[str]()

    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        seen.append(place.get())
        place.set("an earlier question")
        return await shop.who(secret, connection)

    async def answer(message: ClientMessage) -> None:
        seen.append(place.get())
        place.set("an earlier message")

    shop.sync.authenticate(who)
    shop.sync.on_message(answer)
    async with shop.sync:
        context = copy_context()
        context.run(place.set, "the handshake")
        client = context.run(MemoryClient.of, shop.sync, ConnectionInfo("v2"))
        for secret in ("ann", "bob"):
            await client.send([{"action": "secret", "body": secret}, {"action": "message", "body": 1}])
            await shop.clock.advance(1)
            await client.send({"action": "message", "body": 2})
            await shop.clock.advance(1)
            await shop.doubt()
        assert seen == ["the handshake"] * 8
        client.leave()


@pytest.mark.parametrize("wire", ["v2", "classic"])
async def test_the_first_question_is_put_once(wire: Wire):
    """A secret of the client's own that cannot be checked is refused for now: it may send it again."""
    shop = Shop()
    shop.fails = ConnectionError()
    async with shop.sync:
        client = MemoryClient.of(shop.sync, ConnectionInfo(wire))
        await client.send({"action": "secret", "body": "ann"})
        await shop.clock.advance(60)
        assert shop.asked == ["ann"]
