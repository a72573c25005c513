"""NATS, by a server of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from entity_sync.brokers.base import Broker, Message
from entity_sync.brokers.nats import NatsBroker
from entity_sync.errors import BrokerUnavailable, ConfigurationError
from entity_sync.testing.broker_contract import BrokerContract
from tests.brokers.links import NOTICED, LinkContract, certificates, ends, heard, joined
from tests.support.servers import NatsServer, Server, running

pytestmark = pytest.mark.needs("nats-server")


class ConfiguredServer(NatsServer):
    """With more arguments than the usual one."""

    arguments: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [*super().command(), *self.arguments]


@pytest.fixture
async def server(tmp_path):
    async with running("nats", tmp_path) as server:
        yield server


@pytest.fixture
async def configured(tmp_path):
    server = ConfiguredServer(tmp_path)
    yield server
    await server.stop()


@pytest.fixture
async def guarded(configured):
    configured.arguments = ("--user", "node", "--pass", "s@cret")
    configured.url = f"nats://node:s%40cret@127.0.0.1:{configured.port}"
    await configured.start()
    return configured


@pytest.fixture
async def encrypted(configured, tmp_path):
    made = certificates(tmp_path)
    configured.arguments = ("--tls", "--tlscert", str(made.cert), "--tlskey", str(made.key))
    configured.url = f"tls://127.0.0.1:{configured.port}"
    await configured.start()
    return configured, made


class TestNats(BrokerContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: Server):
        self._url = server.url

    async def make(self) -> Broker:
        return NatsBroker(self._url)


class TestNatsLink(LinkContract):
    scheme, library = "nats", "nats"


async def test_dots(server: Server):
    """Names whose dots NATS would not take reach their own subscribers and nobody else's."""
    names = ["a..b", ".a", "a.", ".", "..", "...", "a.b", "_", "-.-"]
    async with joined(NatsBroker(server.url), *names) as broker:
        for name in names:
            await broker.publish(name, [name.encode()])
        got = await heard(broker, len(names))
        assert sorted(map(str, got)) == sorted(str(Message(name, name.encode())) for name in names)


async def test_token(configured: ConfiguredServer):
    """What stands alone before the host is a token."""
    configured.arguments = ("--auth", "s3cret")
    await configured.start()
    address = f"127.0.0.1:{configured.port}"
    async with joined(NatsBroker(f"nats://s3cret@{address}"), "items") as broker:
        await broker.publish("items", [b"1"])
    with pytest.raises(BrokerUnavailable):
        await NatsBroker(f"nats://wrong@{address}").connect()


async def test_several_hosts(server: Server, held_port: int):
    """Of several hosts one that answers is enough."""
    dead = f"127.0.0.1:{held_port}"
    async with joined(NatsBroker(f"nats://{dead},127.0.0.1:{server.port},{dead}"), "items") as broker:
        await broker.publish("items", [b"1"])


async def test_refused(configured: ConfiguredServer, tmp_path: Path):
    """What the server does not permit is told to whom asked for it, and the link goes on."""
    configuration = tmp_path / "nats.conf"
    configuration.write_text(
        "authorization { users = [ { user: node, password: secret, permissions: "
        '{ publish: ["items"], subscribe: ["items"] } } ] }'
    )
    configured.arguments = ("--config", str(configuration))
    await configured.start()
    async with joined(NatsBroker(f"nats://node:secret@127.0.0.1:{configured.port}"), "items") as broker:
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match=r"(?i)permissions violation"):
                await broker.publish("users", [b"1"])
            with pytest.raises(BrokerUnavailable, match=r"(?i)permissions violation"):
                await broker.subscribe(["users"])
        await broker.publish("items", [b"2"])
        assert await heard(broker, 1) == [Message("items", b"2")]


async def test_too_large(server: Server):
    """A payload over the server's limit is refused, and the link goes on."""
    async with joined(NatsBroker(server.url), "items") as broker:
        with pytest.raises(BrokerUnavailable, match="payload"):
            await broker.publish("items", [bytes(2_000_000)])
        await broker.publish("items", [b"1"])
        assert await heard(broker, 1) == [Message("items", b"1")]


async def test_encryption_cannot_be_taken_away():
    """tls:// says nothing to a server that speaks plain text, above all no secret."""
    said = bytearray()

    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576}\r\n')
        while chunk := await reader.read(4_096):
            said.extend(chunk)
            writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(stranger, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        broker = NatsBroker(f"tls://node:s3cret@127.0.0.1:{port}")
        with pytest.raises(BrokerUnavailable):
            await broker.connect()
        await broker.close()
    assert said[:1] == b"\x16", "a TLS handshake is all that was said"
    assert b"CONNECT" not in said


def test_credentials_file(tmp_path: Path):
    """A credentials file that is not there is a mistake in the URL."""
    NatsBroker(f"nats://127.0.0.1?creds={_file(tmp_path)}")
    with pytest.raises(ConfigurationError, match="creds"):
        NatsBroker(f"nats://127.0.0.1?creds={tmp_path / 'none'}")


async def test_credentials_file_without_nkeys(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Credentials files need one more package, and the error says which."""
    monkeypatch.setitem(sys.modules, "nkeys", None)
    broker = NatsBroker(f"{server.url}?creds={_file(tmp_path)}")
    with pytest.raises(ConfigurationError, match="nkeys"):
        await broker.connect()
    await broker.close()


async def test_client(server: Server):
    """A client that is handed over stays connected, without our subscriptions."""
    client = await nats.connect(server.url)
    try:
        async with joined(NatsBroker(client), "items") as broker:
            await broker.publish("items", [b"1"])
            assert await heard(broker, 1) == [Message("items", b"1")]
        assert client.is_connected
        assert client._subs == {}
        await client.flush(1)
    finally:
        await client.close()
    with pytest.raises(BrokerUnavailable):
        await NatsBroker(client).connect()


async def test_client_that_reconnects(server: Server):
    """A reconnect that a client makes by itself ends the link, and the broker works again over it."""

    async def ignore(_: Exception) -> None:
        """The test kills the server."""

    client = await nats.connect(server.url, reconnect_time_wait=0, max_reconnect_attempts=-1, error_cb=ignore)
    broker = NatsBroker(client)
    try:
        async with joined(broker, "items"):
            server.kill()
            receiving = asyncio.create_task(ends(broker, NOTICED))
            await server.start()
            await receiving
            with pytest.raises(BrokerUnavailable):
                await broker.publish("items", [b"1"])
            await broker.close()
            await _connected(client)
            await broker.connect()
            await broker.subscribe(["items"])
            await broker.publish("items", [b"2"])
            assert await heard(broker, 1) == [Message("items", b"2")]
    finally:
        await client.close()


@pytest.mark.slow
async def test_client_of_a_frozen_server(server: Server):
    """A frozen server is noticed by a client that would not, and the client survives it."""
    client = await nats.connect(server.url)
    broker = NatsBroker(client)
    try:
        async with joined(broker, "items"):
            server.freeze()
            await ends(broker, NOTICED)
            await broker.close()
            server.thaw()
            await client.flush(5)
            await broker.connect()
            await broker.subscribe(["items"])
            await broker.publish("items", [b"2"])
            assert Message("items", b"2") in await heard(broker, 1)
    finally:
        await client.close()


async def _connected(client: Client) -> None:
    async with asyncio.timeout(5):
        while not client.is_connected:
            await asyncio.sleep(0.01)


def _file(directory: Path) -> Path:
    path = directory / "node.creds"
    path.write_text("nothing")
    return path


@pytest.mark.parametrize("noise", [b"INFO\r\n", b"INFO {\r\n", b"garbage\r\n", b""])
async def test_a_stranger_that_is_no_nats(noise: bytes):
    """Whatever a server says that is no greeting of NATS, there is no link, and no other exception."""

    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(noise)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        broker = NatsBroker(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(BrokerUnavailable):
            await broker.connect()
        await broker.close()
