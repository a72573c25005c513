"""The client in memory and `settled`, as users' tests use them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from entity_sync import AccessDenied, BadId, ClientMessage, ConnectionInfo, EntitySync, NotRunning, Settings
from entity_sync.brokers.memory import MemoryBroker
from entity_sync.errors import BrokerUnavailable, ConnectionLost
from entity_sync.model import EntityKey
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time


class Absent(MemoryBroker):
    """A broker that cannot be reached."""

    async def connect(self) -> None:
        raise BrokerUnavailable("on purpose")


async def load(_id: str) -> int:
    return 1


class Shop:
    def __init__(self) -> None:
        self.n = 0
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.seen: list[ConnectionInfo] = []
        self.sync = EntitySync()

        @self.sync.entity("items", public=True)
        async def item(id: str) -> dict[str, int]:
            await self.may_load.wait()
            return {"n": self.n}

        @self.sync.authenticate
        async def who(secret: str | None, connection: ConnectionInfo) -> str:
            self.seen.append(connection)
            return secret or "nobody"

        @self.sync.on_message
        async def echo(message: ClientMessage) -> list[Any]:
            return [message.principal, message.json()]


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    async with shop.sync:
        yield shop


async def test_v2(shop: Shop):
    """A v2 client has had its welcome; what it sends is answered; `pending` takes what is there."""
    async with connect(shop.sync) as client:
        assert client.received[0].startswith('{"event":"welcome"')
        assert client.pending() == []
        await client.subscribe("items", "1")
        await settled(shop.sync)
        assert [message["event"] for message in client.pending()] == ["ack", "snapshot"]
        assert client.pending() == []


async def test_subscribe(shop: Shop):
    """Several keys at once, ids of every type that loaders have, what is held, and in each wire's form."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", 1, "2", UUID(int=3), causes=True)
        await settled(shop.sync)
        ack, *snapshots = client.pending()
        assert "failed" not in ack
        assert [message["id"] for message in snapshots] == ["1", "2", str(UUID(int=3))]
        await shop.sync.notify("items", "1")
        await settled(shop.sync)
        assert [message["event"] for message in client.pending()] == ["current"]  # of who asked for causes
    async with connect(shop.sync) as client:
        await client.subscribe("items", 1, version=snapshots[0]["version"])
        await settled(shop.sync)
        assert [message["event"] for message in client.pending()] == ["ack", "current"]
    async with connect(shop.sync, wire="classic") as client:
        await client.subscribe("items", 1, 2)
        await settled(shop.sync)
        shop.n = 5
        await shop.sync.notify("items", "1", "2")
        assert [await client.receive() for _ in range(2)] == [{"n": 5}] * 2


@pytest.mark.parametrize("id", [None, True, 1.5])
async def test_subscribe_to_what_is_no_id(shop: Shop, id: Any):
    """It is refused by the call, as the Python client does, and none of the others is asked for."""
    async with connect(shop.sync) as client:
        with pytest.raises(BadId, match="bad id for 'items': an id is a str, an int or a UUID"):
            await client.subscribe("items", "1", id)
        await settled(shop.sync)
        assert client.pending() == []


async def test_secret_and_handshake(shop: Shop):
    """The secret is known when the client is there; authenticate sees the handshake that the test says."""
    info = ConnectionInfo("v2", cookies={"session": "s"}, peer="test")
    async with connect(shop.sync, secret="ann", info=info) as client:
        await client.send({"action": "message", "body": 5})
        assert await client.receive_until("message") == {"event": "message", "body": ["ann", 5]}
    assert shop.seen == [info]


async def test_classic(shop: Shop):
    """A classic client gets bare rows and no welcome, with or without a secret."""
    async with connect(shop.sync, wire="classic", secret="ann") as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        shop.n = 5
        await shop.sync.notify("items", "1")
        assert await client.receive() == {"n": 5}
        await client.send(b'{"hello": 1}')
        assert await client.receive() == ["ann", {"hello": 1}]


async def test_frames_as_they_are(shop: Shop):
    """Text and bytes are sent as text and binary frames."""
    async with connect(shop.sync) as client:
        await client.send("not JSON")
        await client.send(b"{}")
        await client.send('{"action":"ping"}')
        await settled(shop.sync)
        found = client.pending()
        assert [message.get("code", message["event"]) for message in found] == [
            "bad_frame",
            "bad_frame",
            "pong",
        ]


async def test_stall_and_resume(shop: Shop):
    """A stalled client receives nothing until it resumes, then what counts."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await client.receive_until("snapshot")
        client.stall()
        for n in range(1, 4):
            shop.n = n
            await shop.sync.notify("items", "1")
            await settled(shop.sync)
        assert client.pending() == []
        client.resume()
        assert (await client.receive())["rows"] == [{"data": {"n": 3}}]


async def test_end_of_the_server():
    """When the server closes, what it sent is received first, then ConnectionLost with code and reason."""
    shop = Shop()
    async with shop.sync:
        client = MemoryClient.of(shop.sync)
        receiving = asyncio.create_task(client.receive_until("nothing of this name"))
    with pytest.raises(ConnectionLost, match="1012 drain") as caught:
        await receiving
    assert (caught.value.code, caught.value.reason) == (1012, "drain")
    assert client.received[-1].startswith('{"event":"goodbye","code":"drain"')
    await client.subscribe("items", "1")
    assert client.pending() == []


async def test_leaving(shop: Shop):
    """A client that leaves is gone at once: nothing is watched for it, and a waiting receive ends."""
    client = MemoryClient.of(shop.sync)
    await client.send({"action": "secret", "body": "x"})
    await client.subscribe("items", "1")
    await settled(shop.sync)
    client.pending()
    assert len(shop.sync.node.hub.views) == 1
    receiving = asyncio.create_task(client.receive())
    await asyncio.sleep(0)
    client.leave()
    client.leave()
    with pytest.raises(ConnectionLost):
        await receiving
    assert len(shop.sync.node.hub.views) == 0
    assert len(shop.sync.node.members) == 0


async def test_too_slow_in_the_middle_of_a_message():
    """A client that the server gives up is gone a turn later, as behind a real socket, and nothing is watched
    for it, whatever was left of what it had sent.
    """
    sync = EntitySync(settings=Settings(max_outgoing=100))
    sync.entity("items", public=True)(load)
    async with sync, connect(sync) as client:
        client.stall()
        await client.send({"action": "ping", "ref": "x" * 90})
        key = {"entity": "items", "id": "1"}
        await client.send({"action": "subscribe", "ref": "y" * 90, "body": key})
        assert (client.close_code, client.close_reason) == (1008, "slow")
        assert len(sync.node.members) == 1
        await settled(sync)
        assert len(sync.node.members) == len(sync.node.hub.views) == 0


async def test_settled_waits_for_loads(shop: Shop):
    """`settled` returns when the last load's state has arrived, not before."""
    async with connect(shop.sync) as client:
        shop.may_load.clear()
        await client.subscribe("items", "1")
        waiting = asyncio.create_task(settled(shop.sync))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        shop.may_load.set()
        await waiting
        assert [message["event"] for message in client.pending()] == ["ack", "snapshot"]


async def test_settled_counts_no_client_that_does_not_read(shop: Shop):
    """A stalled client does not keep `settled` waiting."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await client.receive_until("snapshot")
        client.stall()
        shop.n = 5
        await shop.sync.notify("items", "1")
        async with asyncio.timeout(5):
            await settled(shop.sync)


async def test_a_secret_that_is_refused():
    """It raises, as the real client does, and leaves no connection behind."""
    sync = EntitySync()

    @sync.authenticate
    async def who(secret: str | None, connection: ConnectionInfo) -> str:
        raise AccessDenied

    async with sync:
        with pytest.raises(AccessDenied, match="the secret was refused"):
            async with connect(sync, secret="nobody"):
                pass
        assert len(sync.node.members) == 0


@in_virtual_time
async def test_a_secret_that_takes_longer_than_a_beat():
    """What comes meanwhile is not taken for the answer."""
    sync = EntitySync()

    @sync.authenticate
    async def who(secret: str | None, _connection: ConnectionInfo) -> str:
        await asyncio.sleep(8)
        if secret != "ann":
            raise AccessDenied
        return secret

    async with sync:
        with pytest.raises(AccessDenied, match="the secret was refused"):
            async with connect(sync, secret="nobody"):
                pass
        async with connect(sync, secret="ann") as client:
            events = [json.loads(text)["event"] for text in client.received]
            assert (events[1], events[-1]) == ("beat", "ack")
            assert client.pending() == []


async def test_waiting_for_what_never_comes(shop: Shop):
    """It ends, and says what came instead."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        with pytest.raises(TimeoutError, match=r"no 'snapshoot' came within 0.05 s, but ack, snapshot"):
            await client.receive_until("snapshoot", within=0.05)


async def test_needs_a_start():
    """Without a start, connecting and settling say what to do."""
    sync = EntitySync()
    with pytest.raises(NotRunning, match="async with sync"):
        await settled(sync)
    with pytest.raises(NotRunning, match="async with sync"):
        async with connect(sync):
            pass


@in_virtual_time
async def test_settled_waits_until_a_failure_is_told():
    """A test that asserts that nothing came is not passed by a loader that raises."""
    sync = EntitySync(settings=Settings(load_attempts=3, retry_delay=5.0))

    @sync.entity("items")
    async def item(_id: str) -> None:
        raise OSError("on purpose")

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await settled(sync)
        assert "stale" in [message["event"] for message in client.pending()]


async def slow(_secret: str | None, _connection: ConnectionInfo) -> str:
    await asyncio.sleep(0.05)
    return "bob"


async def slow_right(_user: str, _key: EntityKey) -> bool:
    await asyncio.sleep(0.05)
    return True


@in_virtual_time
async def test_settled_waits_for_the_application():
    """What slow questions and messages lead to has come: an empty `pending` is the truth."""
    sync, n = EntitySync(), 0
    sync.authenticate(slow)

    @sync.entity("items", authorize=slow_right)
    async def item(_id: str) -> int:
        return n

    @sync.on_message
    async def increase(_message: ClientMessage) -> None:
        nonlocal n
        await asyncio.sleep(0.05)
        n += 1
        await item.notify("1")

    async with sync, connect(sync) as client:

        async def told() -> list[Any]:
            await settled(sync)
            return [message["event"] for message in client.pending()]

        await client.send({"action": "secret", "body": "bob"})
        assert await told() == ["ack"]
        await client.subscribe("items", "1")
        assert await told() == ["ack", "snapshot"]
        await client.send([{"action": "message", "body": 1}] * 2)
        assert await told() == ["ack", "snapshot"] * 2


@pytest.mark.parametrize("hangs", ["authenticate", "authorize of items", "on_message"])
def test_settled_names_who_does_not_answer(hangs: str):
    """Whoever hangs is waited for so long and no longer, and not at all once the client has left."""

    @in_virtual_time
    async def live() -> None:
        sync = EntitySync(settings=Settings(authenticate_timeout=3_600.0))

        async def ask(name: str) -> bool:
            if name == hangs:
                await asyncio.Event().wait()
            return True

        @sync.authenticate
        async def who(_secret: str | None, _connection: ConnectionInfo) -> str:
            return str(await ask("authenticate"))

        async def may(_user: str, _key: EntityKey) -> bool:
            return await ask("authorize of items")

        @sync.entity("items", authorize=may)
        async def item(_id: str) -> int:
            return 1

        @sync.on_message
        async def answer(_message: ClientMessage) -> None:
            await ask("on_message")

        async with sync:
            async with connect(sync) as client:
                key = {"entity": "items", "id": "1"}
                await client.send([{"action": "subscribe", "body": key}, {"action": "message", "body": 1}])
                with pytest.raises(TimeoutError, match=f"not settled within 2 s: no answer yet of {hangs}$"):
                    await settled(sync, within=2.0)
            await settled(sync, within=0.1)

    live()


@in_virtual_time
async def test_settled_says_what_goes_on():
    """It does not wait for ever, and says for what it did: a load, or a broker that is not there."""
    sync, absent = EntitySync(), EntitySync(Absent())

    async def item(_id: str) -> None:
        await asyncio.Event().wait()

    for each in (sync, absent):
        each.entity("items", timeout=3_600.0)(item)
    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        with pytest.raises(TimeoutError, match="not settled within 30 s: loads of items run"):
            await settled(sync)
    async with absent:
        await absent.notify("items", "1")
        with pytest.raises(
            TimeoutError, match="within 2 s: changes wait for the broker, which cannot be reached"
        ):
            await settled(absent, within=2.0)
