"""The link to the broker: what is lost, what is kept, and what clients are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import pytest

from entity_sync import BrokerUnavailable, EntityKey, EntitySync, Settings
from entity_sync.brokers.base import TRANSIENT, Delivery, Lost, Message, Restored
from entity_sync.core.envelope import CONTROL
from entity_sync.testing import FakeClock, MemoryClient, connect, settled


class ScriptedBroker:
    """A broker whose faults a test switches, one after the other."""

    def __init__(self) -> None:
        self.is_away = False
        self.carries_control = True
        self.published: list[bytes] = []
        self.control: list[bytes] = []
        self.topics: set[str] = set()
        self.connects = 0
        self.inbox: asyncio.Queue[Delivery | Exception] = asyncio.Queue()

    async def connect(self) -> None:
        self.connects += 1
        if self.is_away:
            raise BrokerUnavailable("away, for the test")

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        if self.is_away:
            raise BrokerUnavailable("away, for the test")
        if not topic.endswith(TRANSIENT):
            self.published += payloads
            return
        self.control += payloads
        if topic in self.topics and self.carries_control:
            for payload in payloads:
                self.inbox.put_nowait(Message(topic, payload))

    async def subscribe(self, topics: Collection[str]) -> None:
        self.topics.update(topics)

    async def unsubscribe(self, topics: Collection[str]) -> None:
        self.topics.difference_update(topics)

    async def receive(self) -> AsyncIterator[Delivery]:
        while True:
            delivery = await self.inbox.get()
            if isinstance(delivery, Exception):
                raise delivery
            yield delivery

    async def close(self) -> None:
        """Nothing to close."""


class Shop:
    """An application on the scripted broker, with a clock that the test moves."""

    def __init__(self, **settings: Any) -> None:
        self.broker = ScriptedBroker()
        self.clock = FakeClock()
        self.n = 0
        self.loads: list[str] = []
        self.sync = EntitySync(self.broker, settings=Settings(**settings), clock=self.clock)

        @self.sync.entity("items")
        async def item(id: str) -> dict[str, int]:
            self.loads.append(id)
            return {"n": self.n}

        @self.sync.entity("users")
        async def user(id: str) -> dict[str, int]:
            self.loads.append(f"user {id}")
            return {"n": self.n}

    async def happens(self, *deliveries: Delivery | Exception) -> None:
        for delivery in deliveries:
            self.broker.inbox.put_nowait(delivery)
        await self.clock.advance(0)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    async with shop.sync:
        yield shop


def names(client: MemoryClient) -> list[str]:
    return [message["event"] for message in client.pending()]


async def test_gap_is_told_and_healed(shop: Shop):
    """Lost: stale; Restored: everything watched is loaded again, then fresh, after what differs."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        client.pending()
        await shop.happens(Lost())
        assert names(client) == ["stale"]
        shop.n = 5  # its notify is lost
        await shop.happens(Restored())
        await shop.clock.advance(1.0)
        assert names(client) == ["snapshot", "fresh"]
        assert shop.loads == ["1", "1"]


async def test_gap_without_differences_says_only_fresh(shop: Shop):
    """A resync that finds nothing new sends no states, on either wire."""
    async with connect(shop.sync) as client, connect(shop.sync, wire="classic") as classic:
        for each in (client, classic):
            await each.subscribe("items", "1")
        await classic.subscribe("items", "1")
        await settled(shop.sync)
        client.pending()
        await shop.happens(Lost(), Restored())
        await shop.clock.advance(1.0)
        assert set(names(client)) <= {"stale", "fresh"}
        assert classic.pending() == []


async def test_only_the_topics_concerned(shop: Shop):
    """A gap of some topics loads only their entities again."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await client.subscribe("users", "2")
        await settled(shop.sync)
        shop.loads.clear()
        await shop.happens(Restored(frozenset({"users"})))
        await shop.clock.advance(1.0)
        assert shop.loads == ["user 2"]


async def test_resync_is_paced_and_newest_first():
    """A resync loads resync_rate views a second, the newest views first."""
    shop = Shop(resync_rate=50)
    async with shop.sync, connect(shop.sync) as client:
        ids = [str(n) for n in range(100)]
        await client.subscribe("items", *ids)
        await settled(shop.sync)
        shop.loads.clear()
        await shop.happens(Restored())
        await shop.clock.advance(1.09)
        assert shop.loads == ids[:-51:-1]
        await shop.clock.advance(1.01)
        assert shop.loads == ids[::-1]


async def test_a_key_that_cannot_load_does_not_keep_all_stale(shop: Shop):
    """fresh comes although one key's load fails: that key is told by itself."""
    is_broken = False

    async def fail(id: str) -> dict[str, int]:
        if is_broken:
            raise OSError("on purpose")
        return {}

    shop = Shop(load_attempts=1)
    shop.sync.entity("broken")(fail)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("broken", "1")
        await settled(shop.sync)
        client.pending()
        is_broken = True
        await shop.happens(Lost(), Restored())
        await shop.clock.advance(0.15)
        found = client.pending()
        assert [one["event"] for one in found if "view" not in one] in (["stale", "fresh"], [])
        assert [one["id"] for one in found if one["event"] == "stale" and "view" in one] == ["1"]


async def test_late_client_is_told_of_the_gap(shop: Shop):
    """Who subscribes during a gap gets the state, and is told that it may be old; who only looks is not."""
    await shop.happens(Lost())
    async with connect(shop.sync) as client, connect(shop.sync) as idle:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        assert names(client) == ["ack", "stale", "snapshot"]
        await shop.clock.advance(3_600.0)
        async with connect(shop.sync) as late:
            await late.subscribe("items", "1")
            assert (await late.receive_until("stale"))["age_ms"] >= 3_600_000
        client.pending(), idle.pending()
        await shop.happens(Restored())
        await shop.clock.advance(1.0)
        assert names(client) == ["fresh"]
        assert names(idle) == []


async def test_broker_absent_at_start():
    """Without a broker the node starts, is not ready and says stale; with one it becomes ready and fresh."""
    shop = Shop()
    shop.broker.is_away = True
    async with shop.sync, connect(shop.sync) as client:
        assert not shop.sync.node.is_ready
        await client.subscribe("items", "1")
        await settled(shop.sync)
        assert names(client) == ["ack", "stale", "snapshot"]
        receipt = await shop.sync.notify("items", "1", "2")
        assert receipt.status == "deferred"
        shop.broker.is_away = False
        await shop.clock.advance(5.0)
        assert shop.sync.node.is_ready
        assert [name for name in names(client) if name != "beat"] == ["fresh"]
        assert [payload.split(b'"')[7] for payload in shop.broker.published] == [b"1", b"2"]


async def test_link_that_breaks_is_opened_again(shop: Shop):
    """An adapter that raises is connected again, with all topics, and everything is loaded again."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        await shop.happens(BrokerUnavailable("cut, for the test"))
        await shop.clock.advance(5.0)
        assert shop.broker.connects == 2
        assert {topic for topic in shop.broker.topics if not topic.endswith(TRANSIENT)} == {"items", "users"}
        assert shop.loads == ["1", "1"]
        assert not shop.sync.node.hub.loads._delays._groups


async def test_deferred_keys_are_bounded():
    """While the broker is away a bounded number of keys is kept, each once; beyond it one order to load the
    whole entity takes their place, and the other nodes follow it."""
    shop = Shop(max_deferred=2)
    other = Shop()
    async with shop.sync, other.sync, connect(other.sync) as client:
        await client.subscribe("items", "9")
        await settled(other.sync)
        shop.broker.is_away = True
        for id in ("1", "2", "2", "3", "4"):
            assert (await shop.sync.notify("items", id)).status == "deferred"
        assert (await shop.sync.notify("users", "5")).status == "deferred"
        shop.broker.is_away = False
        shop.broker.control.clear()
        await shop.happens(Lost(), Restored())
        await settled(shop.sync)
        assert [payload.split(b'"')[3] for payload in shop.broker.published] == [b"users"]
        [order] = [payload for payload in shop.broker.control if b"resync" in payload]
        await other.happens(Message(CONTROL, order))
        await settled(other.sync)
        assert other.loads == ["9", "9"]


async def test_refused_publish_is_tried_again(shop: Shop):
    """A key that the broker did not take is kept and sent later, though the link never broke."""
    shop.broker.is_away = True
    assert (await shop.sync.notify("items", "1")).status == "deferred"
    await shop.clock.advance(1.0)
    assert not shop.sync.node.idle
    shop.broker.is_away = False
    assert (await shop.sync.notify("items", "2")).status == "deferred"  # behind the first, not before it
    await shop.clock.advance(5.0)
    assert [payload.split(b'"')[7] for payload in shop.broker.published] == [b"1", b"2"]
    assert shop.sync.node.idle


async def test_cancelled_notify_is_published_all_the_same(shop: Shop, monkeypatch: pytest.MonkeyPatch):
    """Whoever notifies may be cancelled while the broker is slow; the change is published all the same."""
    publish, is_slow = shop.broker.publish, asyncio.Event()

    async def hang(topic: str, payloads: Sequence[bytes]) -> None:
        is_slow.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(shop.broker, "publish", hang)
    notifying = asyncio.create_task(shop.sync.notify("items", "1"))
    await is_slow.wait()
    monkeypatch.setattr(shop.broker, "publish", publish)
    notifying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await notifying
    await settled(shop.sync)
    assert [payload.split(b'"')[7] for payload in shop.broker.published] == [b"1"]


async def test_own_echo_loads_nothing(shop: Shop):
    """A node's own change costs one load, though the broker brings it back."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        await shop.sync.notify("items", "1")
        await shop.happens(Message("items", shop.broker.published[0]))
        await settled(shop.sync)
        assert shop.loads == ["1", "1"]


async def test_classic_node_is_understood(shop: Shop):
    """A message of a Go node, with two members, causes a load."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        await shop.happens(Message("items", b'{"entity":"items","id":"1"}'))
        await settled(shop.sync)
        assert shop.loads == ["1", "1"]


async def test_a_message_of_another_name_is_dropped(shop: Shop):
    """A change on the topic of another entity loads nothing, is counted, and leaves nothing in memory,
    however many names are invented."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        invented = [Message("users", b'{"entity":"x%d","id":"1"}' % number) for number in range(100)]
        await shop.happens(Message("users", b'{"entity":"items","id":"1"}'), *invented)
        await settled(shop.sync)
        assert shop.loads == ["1"]
        assert shop.sync.node.link.dropped == 101
        assert not any(shop.sync.node.hub.recent.of(EntityKey(f"x{number}", "1")) for number in range(100))


async def test_forged_messages_cost_one_load_a_minute(shop: Shop, caplog: pytest.LogCaptureFixture):
    """Thousands of messages that no node can have sent are dropped and counted, in a few log lines; they may
    stand for something lost, so what they were about is loaded again, once a minute."""
    async with connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await client.subscribe("users", "2")
        await settled(shop.sync)
        shop.loads.clear()
        await shop.happens(*[Message("items", b"forged")] * 1_000)
        await settled(shop.sync)
        assert shop.loads == ["1"]
        assert shop.sync.node.link.dropped == 1_000
        assert len([record for record in caplog.records if "dropped" in record.message]) == 10
        await shop.clock.advance(59.0)
        await shop.happens(*[Message("items", b"forged")] * 1_000)
        assert shop.loads == ["1"]
        await shop.clock.advance(1.0)
        assert shop.loads == ["1", "1"]


async def test_nodes_of_one_process():
    """Nodes on the same memory name see each other's changes, in one loop and across threads."""
    rows = {"1": 1}
    nodes = [EntitySync("memory://together") for _ in range(3)]
    for node in nodes:

        @node.entity("items")
        async def item(id: str) -> dict[str, int]:
            return {"n": rows[id]}

    changed, stop = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        async with nodes[2]:
            rows["1"] = 2
            await nodes[2].notify("items", "1")
            changed.set()
            await asyncio.to_thread(stop.wait, 10)

    async with nodes[0], nodes[1], connect(nodes[0]) as one, connect(nodes[1]) as two:
        for client in (one, two):
            await client.subscribe("items", "1")
            await client.receive_until("snapshot")
        thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
        thread.start()
        for client in (one, two):
            assert (await client.receive_until("snapshot"))["rows"] == [{"data": {"n": 2}}]
        stop.set()
        await asyncio.to_thread(thread.join)
        rows["1"] = 3
        await nodes[0].notify("items", "1")
        assert (await two.receive_until("snapshot"))["rows"] == [{"data": {"n": 3}}]
