"""Every fault, on every broker: in the end each client shows the truth, and none went backwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from entity_sync.brokers.base import Broker, Delivery, Message
from entity_sync.brokers.registry import broker_from
from entity_sync.hub.gaps import Gaps
from tests.outages.faults import FAULTS, Fault
from tests.outages.proxy import Proxy
from tests.outages.world import world
from tests.support.servers import SERVERS, Server

PROGRAMS = {"nsq": "nsqd", "nats": "nats-server", "redis": "redis-server", "postgresql": "postgres"}
SCHEMES = [pytest.param(scheme, marks=pytest.mark.needs(PROGRAMS[scheme])) for scheme in SERVERS]
_HEALED = 10.0  # seconds


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """One server of each kind for all tests, started by the first that wants it."""
    started: dict[str, Server] = {}
    yield started
    for server in started.values():
        asyncio.run(server.stop())


@pytest.fixture
async def server(servers: dict[str, Server], scheme: str, tmp_path_factory: pytest.TempPathFactory) -> Server:
    if scheme not in servers:
        servers[scheme] = SERVERS[scheme](tmp_path_factory.mktemp(scheme))
    if not servers[scheme].is_running:
        await servers[scheme].start()
    return servers[scheme]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_fault(server: Server, fault: Fault):
    """What happens under load while the fault strikes is shown when it is over; who was cut off was told."""
    async with Proxy(server.url) as proxy, world(proxy.url, server.url) as found:
        async with found.commits(per_second=50):
            await found.until(lambda: found.receipts["accepted"] > 2, _HEALED)
            seconds = 2.0 if fault.is_silent else 0.5
            async with fault.strike(proxy, server, seconds):
                if fault.is_silent:
                    await asyncio.wait_for(found.watchers[0].was_stale.wait(), 10.0)
            await asyncio.sleep(0.1)  # commits after it
        healed = await found.until(found.is_true, _HEALED)
        assert healed <= _HEALED, found.stale_views
        assert found.violations == []
        assert found.receipts["accepted"] > 0


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_absent_at_start(scheme: str, tmp_path: Path):
    """Nodes start without their broker, say stale and serve; when it comes all is live."""
    server = SERVERS[scheme](tmp_path)
    try:
        async with world(server.url, server.url, is_started=False) as found:
            async with found.commits(per_second=50):
                await asyncio.wait_for(found.watchers[0].was_stale.wait(), 5.0)
                assert not found.syncs[0].node.is_ready
                await server.start()
                await found.until(lambda: not found.watchers[0].is_stale, _HEALED)
            assert await found.until(found.is_true, _HEALED) <= _HEALED, found.stale_views
            assert found.syncs[0].node.is_ready
            assert found.violations == []
    finally:
        await server.stop()


class Lossy:
    """Any adapter, behind which some messages are lost without a word."""

    def __init__(self, inner: Broker, lost: set[int]) -> None:
        self._inner = inner
        self._lost = lost
        self._count = 0

    async def connect(self) -> None:
        await self._inner.connect()

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        await self._inner.publish(topic, payloads)

    async def subscribe(self, topics: Collection[str]) -> None:
        await self._inner.subscribe(topics)

    async def unsubscribe(self, topics: Collection[str]) -> None:
        await self._inner.unsubscribe(topics)

    async def receive(self) -> AsyncIterator[Delivery]:
        async for delivery in self._inner.receive():
            if isinstance(delivery, Message) and delivery.topic == "items":
                self._count += 1
                if self._count in self._lost:
                    continue
            yield delivery

    async def close(self) -> None:
        await self._inner.close()


@pytest.mark.parametrize("is_counted", [True, False], ids=["counted", "not-counted"])
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_silent_losses(server: Server, is_counted: bool, monkeypatch: pytest.MonkeyPatch):
    """A broker that loses messages without a word, the last among them, is found out by their numbers; with
    nobody counting, the views stay stale, and this harness sees it."""
    if not is_counted:
        monkeypatch.setattr(Gaps, "hear", lambda *_: None)
        monkeypatch.setattr(Gaps, "learn", lambda *_: None)
    lossy = Lossy(broker_from(server.url), lost=set(range(5, 1_000)))
    async with world(lossy, server.url) as found:
        for number in range(40):
            found.commit(through=1)
            await asyncio.sleep(0.005 * (number % 3))
        healed = await found.until(found.is_true, _HEALED if is_counted else 3.0)
        assert (healed <= _HEALED) == is_counted, found.stale_views
        assert found.violations == []
