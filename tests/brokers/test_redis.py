"""Redis, by PUBLISH and by streams, with a server of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from entity_sync.brokers.base import Broker, Lost, Message, Restored
from entity_sync.brokers.redis import RedisBroker
from entity_sync.errors import BrokerUnavailable, ConfigurationError
from entity_sync.testing.broker_contract import BrokerContract
from tests.brokers.links import NOTICED, LinkContract, certificates, ends, heard, joined
from tests.support.servers import RedisServer, Server, running

pytestmark = pytest.mark.needs("redis-server")


class ConfiguredServer(RedisServer):
    """With more arguments than the usual one."""

    arguments: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [*super().command(), *self.arguments]

    def greeting(self) -> tuple[bytes, bytes]:
        return b"PING\r\n", b"\r\n"  # it may ask for a password first


@pytest.fixture
async def server(tmp_path):
    async with running("redis", tmp_path) as server:
        yield server


@pytest.fixture
async def configured(tmp_path):
    server = ConfiguredServer(tmp_path)
    yield server
    await server.stop()


@pytest.fixture
async def guarded(configured):
    configured.arguments = ("--requirepass", "s@cret")
    configured.url = f"redis://:s%40cret@127.0.0.1:{configured.port}"
    await configured.start()
    return configured


@pytest.fixture
async def encrypted(configured, tmp_path, held_port):
    made = certificates(tmp_path)
    configured.arguments = (
        "--tls-port", str(held_port), "--tls-cert-file", str(made.cert), "--tls-key-file", str(made.key),
        "--tls-ca-cert-file", str(made.ca), "--tls-auth-clients", "no",
    )  # fmt: skip
    configured.url = f"rediss://127.0.0.1:{held_port}"
    await configured.start()
    return configured, made


@pytest.fixture
async def client(server: Server):
    async with Redis(host="127.0.0.1", port=server.port) as client:
        yield client


class TestRedis(BrokerContract):
    query = ""

    @pytest.fixture(autouse=True)
    def _server(self, server: Server):
        self._url = server.url

    async def make(self) -> Broker:
        return RedisBroker(self._url + self.query)


class TestRedisStream(TestRedis):
    query = "?mode=stream"


class TestRedisLink(LinkContract):
    scheme, library = "redis", "redis"


class TestRedisStreamLink(TestRedisLink):
    query = "?mode=stream"


async def test_killed_by_the_server(server: Server, client: Redis):
    """A connection that the server ends, which the library would hide, ends the link at once."""
    async with joined(RedisBroker(server.url), "items") as broker:
        receiving = asyncio.create_task(ends(broker, 1.0))
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await receiving


@pytest.mark.parametrize("query", ["", "?mode=stream"])
async def test_silent_line_closed_by_the_server(server: Server, client: Redis, query: str):
    """A server may close the connection we speak by: it is opened again by the next publish."""
    async with joined(RedisBroker(server.url + query), "items") as broker:
        await _kill_normal(client)
        async with asyncio.timeout(NOTICED):
            while True:
                try:
                    await broker.publish("items", [b"1"])
                    break
                except BrokerUnavailable:  # it was faster than the news of the end
                    continue
        assert Message("items", b"1") in await heard(broker, 1)


@pytest.mark.parametrize("mode", ["pubsub", "stream"])
@pytest.mark.parametrize("settings", [{}, {"protocol": 3, "decode_responses": True, "socket_timeout": 0.1}])
async def test_client(server: Server, mode: Any, settings: dict[str, Any]):
    """A client that is handed over gives its settings, none of its connections, and stays open."""
    async with Redis(host="127.0.0.1", port=server.port, max_connections=1, **settings) as client:
        await client.set("key", "value")
        async with joined(RedisBroker(client, mode=mode), "items") as broker:
            await broker.publish("items", [b"\xff"])
            assert await heard(broker, 1) == [Message("items", b"\xff")]
            await asyncio.sleep(0.2)  # longer than its timeout, which is not for a line that waits
            await broker.publish("items", [b"2"])
            assert await heard(broker, 1) == [Message("items", b"2")]
        assert await client.get("key") in {b"value", "value"}


async def test_database(server: Server, client: Redis):
    """The path is the database, which keeps the streams."""
    async with joined(RedisBroker(f"{server.url}/3?mode=stream"), "items") as broker:
        await broker.publish("items", [b"1"])
        assert await client.keys() == []
        async with Redis(host="127.0.0.1", port=server.port, db=3) as other:
            assert await other.keys() == [b"entity-sync:items"]


@pytest.mark.parametrize("rest", ["127.0.0.1/items", "127.0.0.1,127.0.0.2", "127.0.0.1?mode=fast"])
def test_bad_url(rest: str):
    """A path that is no number, several hosts and an unknown mode are mistakes in the URL."""
    with pytest.raises(ConfigurationError):
        RedisBroker(f"redis://{rest}")


@pytest.mark.parametrize("query", ["", "?mode=stream"])
async def test_refused(server: Server, client: Redis, query: str):
    """What the server does not permit is told to whom asked for it, and the link goes on."""
    rules = ("on", ">secret", "resetchannels", "+@all", "&items", "~entity-sync:items")
    await client.execute_command("ACL", "SETUSER", "node", *rules)
    url = server.url.replace("://", "://node:secret@") + query
    async with joined(RedisBroker(url), "items") as broker:
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match="permission"):
                await broker.publish("users", [b"1", b"2"])
            with pytest.raises(BrokerUnavailable, match="permission"):
                await broker.subscribe(["users", "orders"])
        await broker.publish("items", [b"2"])
        assert await heard(broker, 1) == [Message("items", b"2")]


class TestStreams:
    """What is only true of streams."""

    @pytest.fixture
    async def broker(self, server: Server):
        async with joined(RedisBroker(f"{server.url}?mode=stream"), "items", "users") as broker:
            yield broker

    async def test_goes_on(self, broker: Broker, client: Redis):
        """A link that is cut is opened again without a loss, and nobody is told of one."""
        for number in range(5):
            await client.execute_command("CLIENT", "KILL", "ID", await _reader(client))
            await client.xadd("entity-sync:items", {"change": b"%d" % number})
        assert await heard(broker, 5) == [Message("items", b"%d" % number) for number in range(5)]

    async def test_server_restarted(self, broker: Broker, server: Server):
        """Another server process does not know what the one before accepted: everything may be lost."""
        await broker.publish("items", [b"1"])
        assert await heard(broker, 1) == [Message("items", b"1")]
        server.kill()
        await server.start()
        assert await heard(broker, 2) == [Lost(), Restored()]
        await broker.publish("items", [b"2"])
        assert await heard(broker, 1) == [Message("items", b"2")]

    async def test_deleted(self, broker: Broker, client: Redis):
        """A stream that was deleted has a gap, is followed again, and no other is affected."""
        await broker.publish("items", [b"1"])
        await broker.publish("users", [b"1"])
        await heard(broker, 2)
        await client.delete("entity-sync:items")
        gap = frozenset({"items"})
        assert await heard(broker, 2) == [Lost(gap), Restored(gap)]
        await broker.publish("items", [b"2"])
        await broker.publish("users", [b"2"])
        got = await heard(broker, 2)
        assert set(got) == {Message("items", b"2"), Message("users", b"2")}

    async def test_began_anew(self, broker: Broker, client: Redis):
        """A stream whose ids went back, as when the server's clock did, is not listened to in vain."""
        await broker.publish("items", [b"1"])
        await heard(broker, 1)
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.delete("entity-sync:items")
            pipeline.xadd("entity-sync:items", {"change": b"old"}, id="1-1")
            await pipeline.execute()
        gap = frozenset({"items"})
        assert await heard(broker, 2) == [Lost(gap), Restored(gap)]
        await client.xadd("entity-sync:items", {"change": b"new"}, id="1-2")
        assert await heard(broker, 1) == [Message("items", b"new")]

    async def test_trimmed(self, broker: Broker, client: Redis):
        """Who was away while more was said than a stream keeps is told of the gap in that topic."""
        await broker.publish("items", [b"1"])
        await broker.publish("users", [b"1"])
        await heard(broker, 2)
        async with client.pipeline(transaction=True) as pipeline:  # at once, so that nothing is read between
            for number in range(8_000):
                pipeline.xadd(
                    "entity-sync:items", {"change": b"%d" % number}, maxlen=6_000, approximate=False
                )
            await pipeline.execute()
        gap = frozenset({"items"})
        got = await heard(broker, lambda got: got[-1] == Message("items", b"7999"))
        assert Lost(gap) in got
        assert Restored(gap) in got
        assert len([one for one in got if isinstance(one, Message)]) == 6_000

    async def test_trimmed_while_away(self, broker: Broker, client: Redis):
        """The same is noticed by who comes back."""
        await broker.publish("items", [b"1"])
        await heard(broker, 1)
        async with client.pipeline(transaction=True) as pipeline:
            pipeline.execute_command("CLIENT", "KILL", "ID", await _reader(client))
            for number in range(100):
                pipeline.xadd("entity-sync:items", {"change": b"%d" % number}, maxlen=10, approximate=False)
            await pipeline.execute()
        gap = frozenset({"items"})
        got = await heard(broker, 12)
        assert got[:2] == [Lost(gap), Restored(gap)]
        assert got[2:] == [Message("items", b"%d" % number) for number in range(90, 100)]

    async def test_long_burst(self, broker: Broker):
        """Several times what a stream keeps, published as fast as the server takes it, arrives completely."""
        receiving = asyncio.create_task(heard(broker, 30_000, within=30))
        for start in range(0, 30_000, 1_000):
            await broker.publish("items", [b"%d" % number for number in range(start, start + 1_000)])
        assert await receiving == [Message("items", b"%d" % number) for number in range(30_000)]

    async def test_kept(self, broker: Broker, client: Redis):
        """A stream keeps about 10,000 messages; a transient topic's is deleted when nobody uses it."""
        await broker.publish("items", [b"x"] * 15_000)
        assert 10_000 <= await client.xlen("entity-sync:items") < 10_500
        assert await client.ttl("entity-sync:items") == -1
        await broker.publish("items.transient", [b"x"])
        assert 0 < await client.ttl("entity-sync:items.transient") <= 3_600

    async def test_subscribed_while_reading(self, broker: Broker, client: Redis):
        """A topic that is added is heard at once, although a read of the others is under way."""
        await _reader(client)
        await broker.subscribe(["late"])
        await broker.publish("late", [b"2"])
        assert await heard(broker, 1, within=0.5) == [Message("late", b"2")]

    async def test_foreign_entries(self, broker: Broker, client: Redis):
        """Entries that are none of ours are passed over."""
        await client.xadd("entity-sync:items", {"other": b"1"})
        await client.xadd("entity-sync:items", {"change": b"2"})
        assert await heard(broker, 1) == [Message("items", b"2")]

    async def test_stays_away(self, broker: Broker, server: Server):
        """A server that does not come back in time ends the link."""
        server.kill()
        await ends(broker, NOTICED)


async def _kill_normal(client: Redis) -> None:
    for line in await client.client_list():
        if line["cmd"] not in {"xread", "subscribe", "ping", "client|list"}:
            await client.execute_command("CLIENT", "KILL", "ID", line["id"])


async def _reader(client: Redis) -> str:
    """The id of the connection that waits for messages, once there is one."""
    async with asyncio.timeout(5):
        while True:
            for line in await client.client_list():
                if line["cmd"] == "xread":
                    return str(line["id"])
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("noise", [b":x\r\n", b"+OK\r\n" * 9, b"*1\r\n$-9\r\n", b"garbage\r\n"])
async def test_a_stranger_that_is_no_redis(noise: bytes):
    """Whatever a server says that is no answer of Redis, there is no link, and no other exception."""

    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(noise)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        broker = RedisBroker(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(BrokerUnavailable):  # noqa: PT012 - at the latest when something is asked
            await broker.connect()
            await broker.subscribe(["items"])
        await broker.close()
