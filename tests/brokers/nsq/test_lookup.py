"""nsqds found through a real nsqlookupd."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from entity_sync.brokers.base import Lost, Message, Restored
from entity_sync.brokers.nsq import NsqBroker, lookup
from entity_sync.brokers.nsq import broker as broker_module
from entity_sync.errors import BrokerUnavailable
from tests.support.ports import HeldPort
from tests.support.servers import Nsqd
from tests.support.system_programs import find

pytestmark = [pytest.mark.needs("nsqd"), pytest.mark.needs("nsqlookupd")]


class Registered(Nsqd):
    """nsqd that tells nsqlookupd about itself."""

    lookup_port = 0

    def command(self) -> list[str]:
        return [
            *super().command(), f"--lookupd-tcp-address=127.0.0.1:{self.lookup_port}",
            "--broadcast-address=127.0.0.1", f"--broadcast-tcp-port={self.port}",
        ]  # fmt: skip


class Network:
    """One nsqlookupd and the nsqds it knows."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.held = HeldPort(), HeldPort()
        self.place = ("127.0.0.1", self.held[0].number)
        self.tcp_port = self.held[1].number
        self.url = f"nsq+lookup://127.0.0.1:{self.place[1]}"
        self.nsqds: list[Registered] = []

    async def add(self) -> Registered:
        """One nsqd more, known."""
        directory = self.directory / str(len(self.nsqds))
        directory.mkdir()
        server = Registered(directory)
        server.lookup_port = self.tcp_port
        self.nsqds.append(server)
        await server.start()
        await until(self._knows, server)
        return server

    async def _knows(self, server: Registered) -> bool:
        return ("127.0.0.1", server.port) in await lookup.nodes(self.place)


async def until(condition, *arguments) -> None:
    async with asyncio.timeout(10):
        while not await condition(*arguments):
            await asyncio.sleep(0.01)


@pytest.fixture
async def network(tmp_path):
    async with running(tmp_path) as found:
        yield found


@asynccontextmanager
async def running(directory: Path):
    found = Network(directory)
    program = find("nsqlookupd")
    assert program is not None
    command = [
        program, f"--http-address=127.0.0.1:{found.place[1]}", f"--tcp-address=127.0.0.1:{found.tcp_port}",
        "--broadcast-address=127.0.0.1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    async def answers() -> bool:
        try:
            return await lookup.nodes(found.place) == set()
        except BrokerUnavailable:
            return False

    try:
        await until(answers)
        yield found
    finally:
        process.kill()
        process.wait()
        for server in found.nsqds:
            await server.stop()
        for port in found.held:
            port.close()


async def received(broker, count):
    found = broker.receive()
    async with asyncio.timeout(10):
        return [await anext(found) for _ in range(count)]


async def test_publishes_and_listens(network):
    """Nodes that know only nsqlookupd reach each other, and hear another nsqd of the topic."""
    one, other = sorted([await network.add(), await network.add()], key=lambda server: server.port)
    elsewhere = NsqBroker(other.url)
    await elsewhere.connect()
    await elsewhere.subscribe(["items"])

    async def known() -> bool:
        return await lookup.producers(network.place, "items") == {("127.0.0.1", other.port)}

    await until(known)
    nodes = [NsqBroker(network.url), NsqBroker(network.url)]
    for node in nodes:
        await node.connect()
        await node.subscribe(["items"])
    await nodes[0].publish("items", [b"1"])
    for node in nodes:
        assert await received(node, 1) == [Message("items", b"1")]
        assert set(node._topics["items"]) == {("127.0.0.1", one.port), ("127.0.0.1", other.port)}
    await elsewhere.publish("items", [b"2"])
    for node in (*nodes, elsewhere):
        assert await received(node, 1) == [Message("items", b"2")]
        await node.close()


async def test_named_nsqd_is_published_to(network):
    """`?nsqd=` names the one to publish to, whichever is first."""
    servers = sorted([await network.add(), await network.add()], key=lambda server: server.port)
    broker = NsqBroker(f"{network.url}?nsqd=127.0.0.1:{servers[1].port}")
    await broker.connect()
    await broker.publish("items", [b"1"])
    await broker.close()
    assert "TOPIC(items): created" in servers[1].log()
    assert "TOPIC(items): created" not in servers[0].log()


async def test_nsqd_that_gets_a_topic_later(network, monkeypatch):
    """An nsqd that gets a topic later is found; what it carried before is a gap of that topic."""
    monkeypatch.setattr(broker_module, "_POLL", 0.05)
    first = await network.add()
    broker = NsqBroker(f"{network.url}?nsqd=127.0.0.1:{first.port}")
    await broker.connect()
    await broker.subscribe(["items", "users"])
    later = NsqBroker((await network.add()).url)
    await later.connect()
    await later.subscribe(["items"])
    items = frozenset({"items"})
    assert await received(broker, 2) == [Lost(items), Restored(items)]
    await later.publish("items", [b"1"])
    assert await received(broker, 1) == [Message("items", b"1")]
    await later.close()
    await broker.close()


async def test_nsqd_that_is_named_but_gone(network, held_port, monkeypatch):
    """A topic at an nsqd that does not answer is lost until it does, or until nsqlookupd forgets it."""
    monkeypatch.setattr(broker_module, "_POLL", 0.05)
    await network.add()
    broker = NsqBroker(network.url)
    await broker.connect()
    await broker.subscribe(["items"])
    places = {("127.0.0.1", held_port)}
    real = lookup.producers

    async def producers(place, topic):
        return await real(place, topic) | places

    monkeypatch.setattr(broker_module, "producers", producers)
    items = frozenset({"items"})
    assert await received(broker, 1) == [Lost(items)]
    places.clear()
    assert await received(broker, 1) == [Restored(items)]
    await broker.close()


async def test_nobody_known_or_there(network, held_port):
    """Without any nsqd, or without nsqlookupd, `connect` says so."""
    with pytest.raises(BrokerUnavailable, match="knows no nsqd"):
        await NsqBroker(network.url).connect()
    with pytest.raises(BrokerUnavailable, match="nsqlookupd"):
        await NsqBroker(f"nsq+lookup://127.0.0.1:{held_port}").connect()


async def test_one_of_several_lookups_is_enough(network, held_port):
    """Of several nsqlookupds one that answers is enough."""
    await network.add()
    broker = NsqBroker(f"nsq+lookup://127.0.0.1:{held_port},127.0.0.1:{network.place[1]}")
    await broker.connect()
    await broker.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 500 Oh\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\n\r\n{"producers":[{"broadcast_address":1,"tcp_port":1}]}',
        b'HTTP/1.1 200 OK\r\n\r\n{"producers":[{"broadcast_address":"a","tcp_port":70000}]}',
        b'HTTP/1.1 200 OK\r\n\r\n{"producers":' + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 5_000_000,
    ],
)  # fmt: skip
async def test_answers_that_make_no_sense(answer):
    """Whatever a wrong or hostile nsqlookupd answers, the question raises BrokerUnavailable."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with pytest.raises(BrokerUnavailable, match="nsqlookupd"):
            await lookup.nodes(server.sockets[0].getsockname())
