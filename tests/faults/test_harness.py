"""The harness can fail: what it is there to find is found, in worlds that are wrong on purpose."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from entity_sync.brokers.base import Broker, Delivery, Message
from entity_sync.brokers.memory import MemoryBroker
from tests.faults.viewer import ENTITY
from tests.faults.world import SHORT, World
from tests.support.ports import bound
from tests.support.servers import SERVERS

NOBODY_COUNTS = replace(SHORT, gap_grace=1e6, alive_interval=1e6)
SCHEMES = [pytest.param(name, marks=pytest.mark.needs(of.program)) for name, of in SERVERS.items()]
NOBODY_LISTENS = replace(NOBODY_COUNTS, echo_interval=1e6)


class Wrong:
    """An adapter that loses messages and says nothing."""

    def __init__(self, inner: Broker) -> None:
        self.loses = False
        self._inner = inner
        self.connect = inner.connect
        self.publish = inner.publish
        self.subscribe = inner.subscribe
        self.unsubscribe = inner.unsubscribe
        self.close = inner.close

    async def receive(self) -> AsyncIterator[Delivery]:
        async for delivery in self._inner.receive():
            if not (self.loses and isinstance(delivery, Message) and delivery.topic.endswith(ENTITY)):
                yield delivery


class Backwards(World):
    """The rows are read from a copy of the database that is late at times."""

    async def _load(self, id: str) -> dict[str, object]:
        row = await super()._load(id)
        return row | {"n": self.truth[id] - self.random.randrange(3)}


def brokers(name: str) -> list[Wrong]:
    return [Wrong(MemoryBroker(f"memory://{name}")) for _ in range(2)]


async def lose_one(world: World, wrong: Wrong) -> None:
    """One change through the second node of which the first hears nothing; more follow on other rows."""
    await world.settle(5.0)
    wrong.loses = True
    world.commit("1", world.nodes[1])
    await world.all_notified()
    wrong.loses = False
    await world.write(0.2, 50.0, ["2"])


async def test_silent_loss_is_found():
    """Where nobody counts the messages, a single one that an adapter loses is seen by the harness."""
    one, two = brokers("loss")
    async with World([one, two], ["1", "2"], seed=1, settings=NOBODY_COUNTS) as world:
        await lose_one(world, one)
        with pytest.raises(AssertionError, match=r"3 after 1 s.*\n.*of node A shows 0 of 1, which is 1"):
            await world.settle(1.0)


async def test_silent_loss_is_healed():
    """The same loss does no harm with the settings that the cells use: it is the numbers that find it."""
    one, two = brokers("healed")
    async with World([one, two], ["1", "2"], seed=1) as world:
        await lose_one(world, one)
        await world.settle(5.0)
    assert world.violations == []


async def test_silence_is_found():
    """A v2 client that shows an old row for too long, and was not told, is seen before the end."""
    one, two = brokers("silence")
    async with World([one, two], ["1", "2"], seed=1, settings=NOBODY_COUNTS, silence=0.3) as world:
        await lose_one(world, one)
        async with asyncio.timeout(60):
            while not world.violations:
                await asyncio.sleep(0.01)
    assert "shows 0 of 1, which is 1, for 0.3 s, and was not told" in world.violations[0]


async def test_going_back_is_found():
    """A client that is shown an older state than before is seen, although it ends with the truth."""
    async with Backwards(["memory://back"], ["1"], seed=1) as world:
        async with asyncio.timeout(60):
            while not any("went back from" in violation for violation in world.violations):
                await world.write(0.1, 100.0, ["1"])


async def test_untold_client_is_found():
    """Nobody is told of a link in order, and the harness says who was not."""
    async with World(["memory://told"], ["1"], seed=1) as world:
        await world.settle(5.0)
        with pytest.raises(AssertionError, match=r"2 after 0\.1 s.*\n.*of node A was not told stale"):
            await world.told_stale(0.1, [0])


async def test_failures_are_found():
    """An adapter that fails in a way of its own, and a task whose failure nobody takes, are violations."""

    class Failing(MemoryBroker):
        async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
            if topic.endswith(ENTITY):
                raise KeyError(topic)
            await super().publish(topic, payloads)

    async with World([Failing("memory://failing")], ["1"], seed=1) as world:
        await world.settle(5.0)
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        world.commit("1")
        async with asyncio.timeout(60):
            while len(world.violations) < 2:
                await asyncio.sleep(0.01)
        logging.getLogger("entity_sync.brokers.test").error("lost it")
    told = "\n".join(world.violations)
    assert "ZeroDivisionError" in told
    assert "the adapter failed (KeyError" in told
    assert "lost it" in told


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_server_keeps_its_port(scheme: str, tmp_path: Path):
    """Nobody else gets the port before a server's first start, nor between two; an end by `stop` frees it."""
    server = SERVERS[scheme](tmp_path)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", server.port))
    await server.start()
    server.kill()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", server.port))
    await server.start()
    await server.stop()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_server_that_cannot_start(scheme: str, tmp_path: Path):
    """It says why and does not count as running, so that the next test starts it anew."""
    server = SERVERS[scheme](tmp_path)
    try:
        with bound(server.port) as other:
            other.listen()
            with pytest.raises(AssertionError, match=r"(?i)in use"):
                await server.start()
        assert not server.is_running
        await server.start()
    finally:
        await server.stop()
