"""The client against the real server, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import pytest

from entity_sync import AccessDenied, ClientMessage, ConnectionInfo, EntitySync
from entity_sync.client import Refusal, State, Subscription, connect
from entity_sync.errors import ConnectionLost
from entity_sync.model import EntityKey
from entity_sync.server.standalone import Listener, listen
from entity_sync.testing import FakeClock


class Shop:
    """A small application and its rows."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {1: 10}
        self.loads = 0
        self.sync = EntitySync()
        self.sync.entity("items", public=True)(self.item)
        self.sync.entity("own")(self.own)
        self.sync.authenticate(self.who)
        self.sync.on_message(self.answer)

    async def item(self, id: int) -> dict[str, int] | None:
        self.loads += 1
        return {"n": self.rows[id]} if id in self.rows else None

    async def own(self, id: str, who: str) -> dict[str, str]:
        return {"for": who}

    async def who(self, secret: str | None, _connection: ConnectionInfo) -> str:
        if secret == "wrong":
            raise AccessDenied
        return secret or "nobody"

    async def answer(self, message: ClientMessage) -> Any:
        body = message.json()
        if body == "fail":
            raise RuntimeError("on purpose")
        return None if body == "silence" else {"echo": body, "from": message.principal}

    async def set(self, id: int, n: int) -> None:
        self.rows[id] = n
        await self.sync.notify("items", id)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
async def listener(shop: Shop) -> AsyncIterator[Listener]:
    async with listen(shop.sync) as listener:
        yield listener


async def until(subscription: Subscription, holds: Callable[[State], bool]) -> State:
    async with asyncio.timeout(10):
        while not holds(state := await subscription.next()):
            pass
        return state


def fresh(n: int) -> Callable[[State], bool]:
    return lambda state: state.data == {"n": n} and not state.is_stale


async def test_follows_changes(shop: Shop, listener: Listener):
    """A subscription shows the state, every change, and that the key is gone."""
    async with connect(listener.url) as client:
        item = client.subscribe("items", 1)
        await until(item, fresh(10))
        await shop.set(1, 11)
        await until(item, fresh(11))
        del shop.rows[1]
        await shop.sync.notify("items", 1)
        await until(item, lambda state: state.is_gone)


async def test_two_subscriptions_share_one(shop: Shop, listener: Listener):
    """Two subscriptions of one key in one client both follow it; closing one leaves the other."""
    async with connect(listener.url) as client:
        first, second = client.subscribe("items", 1), client.subscribe("items", "1")
        await until(first, fresh(10))
        await until(second, fresh(10))
        first.close()
        await shop.set(1, 12)
        await until(second, fresh(12))
        assert shop.loads == 2


async def test_refused_key_disturbs_nobody(shop: Shop, listener: Listener):
    """A bad id raises for its subscription alone, with its key."""
    async with connect(listener.url) as client:
        bad, good = client.subscribe("items", "01"), client.subscribe("items", 1)
        with pytest.raises(Refusal, match=r"^items/'01': bad_id: ") as refusal:
            await bad.next()
        assert refusal.value.key == EntityKey("items", "01")
        await until(good, fresh(10))


async def test_messages_and_answers(listener: Listener):
    """A message brings back the application's answer, an ack, or its failure without its text."""
    async with connect(listener.url, secret="ann") as client:
        assert await client.message({"a": 1}) == {"echo": {"a": 1}, "from": "ann"}
        assert await client.message("silence") is None
        with pytest.raises(Refusal, match=r"^failed") as refusal:
            await client.message("fail")
        assert "on purpose" not in str(refusal.value)


async def test_secret_changes(listener: Listener):
    """A new secret shows the new principal's rows; a wrong one denies; a right one brings them back."""
    async with connect(listener.url, secret="ann") as client:
        own = client.subscribe("own", "x")
        await until(own, lambda state: state.data == {"for": "ann"})
        await client.identify("bob")
        await until(own, lambda state: state.data == {"for": "bob"})
        with pytest.raises(AccessDenied):
            await client.identify("wrong")
        await until(own, lambda state: state.is_denied)
        await client.identify(lambda: "cat")
        await until(own, lambda state: state.data == {"for": "cat"})


async def test_wrong_secret_at_first(listener: Listener):
    """A secret that is refused at the start raises where the client connects."""
    with pytest.raises(AccessDenied):
        async with connect(listener.url, secret="wrong"):
            pass


async def test_no_server():
    """Where nobody listens, connecting raises ConnectionLost with the reason."""
    with pytest.raises(ConnectionLost, match="1006"):
        async with connect("ws://127.0.0.1:1/ws/entity-sync/"):
            pass


async def test_wrong_path(listener: Listener):
    """A path that serves no WebSocket raises ConnectionLost naming the status."""
    with pytest.raises(ConnectionLost, match="404"):
        async with connect(listener.url + "nowhere"):
            pass


async def test_final_slash(listener: Listener):
    """Where a path is refused that has no final slash, the reason proposes it with one; else it does not."""
    with pytest.raises(ConnectionLost, match="did you mean the path /ws/entity-sync/ with") as lost:
        async with connect(listener.url.removesuffix("/") + "?token=hunter2"):
            pass
    assert "hunter2" not in str(lost.value)
    with pytest.raises(ConnectionLost, match="404") as lost:
        async with connect(listener.url + "nowhere/"):
            pass
    assert "did you mean" not in str(lost.value)


async def test_server_restarts(shop: Shop):
    """While the server is away the state is kept and stale; the next server brings the newest."""
    async with AsyncExitStack() as server, AsyncExitStack() as clients:
        listener = await server.enter_async_context(listen(shop.sync))
        client = await clients.enter_async_context(connect(listener.url, random=Eager()))
        item = client.subscribe("items", 1)
        await until(item, fresh(10))
        await server.aclose()
        await until(item, lambda state: state.is_stale and state.data == {"n": 10})
        shop.rows[1] = 13
        await server.enter_async_context(listen(shop.sync, port=listener.port))
        await until(item, fresh(13))


async def test_resumes_without_a_body(shop: Shop):
    """A client that comes back with the version it holds is told so, and shows no staleness after."""
    async with AsyncExitStack() as server, AsyncExitStack() as clients:
        listener = await server.enter_async_context(listen(shop.sync))
        client = await clients.enter_async_context(connect(listener.url, random=Eager()))
        item = client.subscribe("items", 1)
        version = (await until(item, fresh(10))).version
        await server.aclose()
        await until(item, lambda state: state.is_stale)
        await server.enter_async_context(listen(shop.sync, port=listener.port))
        assert (await until(item, fresh(10))).version == version


async def test_closed_client_ends_its_iterators(listener: Listener):
    """Whoever waits for news of a closed client gets ConnectionLost."""
    async with connect(listener.url) as client:
        item = client.subscribe("items", 1)
        await until(item, fresh(10))
        waiting = asyncio.create_task(item.next())
        await asyncio.sleep(0)
    with pytest.raises(ConnectionLost, match="closed by this program"):
        await waiting
    with pytest.raises(ConnectionLost):
        await client.message({})


async def test_silence_is_told(entity_sync_clock: FakeClock, listener: Listener):
    """A client that hears nothing for stale_ms says so without any frame of the server."""
    async with connect(listener.url, clock=entity_sync_clock) as client:
        item = client.subscribe("items", 1)
        await until(item, fresh(10))
        await entity_sync_clock.advance(15.0)
        assert item.state.is_stale


class Eager(Random):
    """Chance without waiting: a retry comes at once."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


async def test_reading_what_was_written(shop: Shop, listener: Listener):
    """`reached` returns with a state that covers the notify; a token that was covered before is at once."""
    async with connect(listener.url, receipts=True) as client:
        items = client.subscribe("items", 1)
        await until(items, fresh(10))
        shop.rows[1] = 11
        receipt = await shop.sync.notify("items", 1)
        async with asyncio.timeout(10):
            await client.reached(receipt.token)
        assert fresh(11)(items.state)
        await client.reached(receipt.token)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.reached("unheard of")
    async with connect(listener.url) as client:
        with pytest.raises(RuntimeError, match="receipts=True"):
            await client.reached(receipt.token)


async def test_why_a_handshake_was_refused(shop):
    """A first connection that the server refuses fails with the text of its answer."""
    async with listen(shop.sync) as listener:
        with pytest.raises(ConnectionLost, match=r"HTTP 404: .+"):
            async with connect(listener.url + "x"):
                pass
