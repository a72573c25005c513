"""Lost messages that no adapter told of: what is loaded again, when, and how often at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from random import Random

import pytest

from entity_sync import EntitySync, Settings, Signing
from entity_sync.brokers.base import TRANSIENT, Delivery, Lost, Message, Restored
from entity_sync.clock import SystemClock
from entity_sync.core.announce import Announcer
from entity_sync.core.control import Beat
from entity_sync.core.envelope import CONTROL, Envelope
from entity_sync.core.sequences import Sequences
from entity_sync.hub.gaps import Gaps
from entity_sync.hub.node import Application, Node
from entity_sync.loading.catalog import Catalog
from entity_sync.loading.loader import Loader
from entity_sync.model import Change, EntityKey, Origin, Source
from entity_sync.testing import FakeClock, connect, settled
from tests.simulation.loop import run as run_in_virtual_time


class EchoingBroker:
    """Delivers what the test says, and what the node sends to itself while `carries`."""

    def __init__(self) -> None:
        self.carries = True
        self.connects = 0
        self.inbox: asyncio.Queue[Delivery] = asyncio.Queue()

    async def connect(self) -> None:
        self.connects += 1

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        if not self.carries:
            await asyncio.Event().wait()
        if topic.endswith(TRANSIENT):
            for payload in payloads:
                self.inbox.put_nowait(Message(topic, payload))

    async def subscribe(self, topics: Collection[str]) -> None: ...

    async def unsubscribe(self, topics: Collection[str]) -> None: ...

    async def receive(self) -> AsyncIterator[Delivery]:
        while True:
            yield await self.inbox.get()

    async def close(self) -> None: ...


class Shop:
    """Items and users at a time that the test moves, and another node of which it plays the part."""

    def __init__(self, signing: Signing | None = None) -> None:
        self.broker = EchoingBroker()
        self.clock = FakeClock()
        self.loads: list[str] = []
        self.sync = EntitySync(self.broker, clock=self.clock, topic_prefix="shop.", signing=signing)
        for name in ("items", "users"):
            self.sync.entity(name)(self.load)
        self.envelope = Envelope("shop.", signing)
        self.peer = Announcer(Source("peer", "epoch"))

    async def load(self, id: str) -> dict[str, str]:
        self.loads.append(id)
        return {"id": id}

    def change(self, id: str, entity: str = "items") -> Change:
        return self.peer.numbered(map(Change, [EntityKey(entity, id)]), self.clock.now())[0]

    async def hears(self, *letters: Change | Beat) -> None:
        for letter in letters:
            name = letter.key.entity if isinstance(letter, Change) else CONTROL
            payload = self.envelope.seal(name, letter)
            self.broker.inbox.put_nowait(Message(self.envelope.topic(name), payload))
        await self.clock.advance(0)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        body = [{"entity": "items", "id": "i"}, {"entity": "users", "id": "u"}]
        await client.send({"action": "subscribe", "body": body})
        await settled(shop.sync)
        shop.loads.clear()
        yield shop


async def test_a_missing_number(shop: Shop):
    """A message that never came has its entity loaded again when the grace is over, and no other."""
    lost = shop.change("1")
    await shop.hears(shop.change("2"))
    assert lost.origin is not None
    await shop.clock.advance(1.9)
    assert shop.loads == []
    await shop.clock.advance(0.2)
    assert shop.loads == ["i"]
    await shop.clock.advance(50.0)
    assert shop.loads == ["i"]


async def test_a_late_number(shop: Shop):
    """Messages out of order, within the grace, cost nothing."""
    first, second, third = (shop.change(id) for id in "123")
    await shop.hears(third, first)
    await shop.clock.advance(1.5)
    await shop.hears(second, second)
    await shop.clock.advance(20.0)
    assert shop.loads == []


async def test_a_missing_last_number(shop: Shop):
    """A last message that never came is found by the beat that follows it."""
    await shop.hears(shop.change("1"))
    shop.change("2")
    await shop.clock.advance(1.0)
    await shop.hears(*shop.peer.quiet(shop.clock.now(), 1.0))
    await shop.clock.advance(2.1)
    assert shop.loads == ["i"]


async def test_reloads_are_spaced(shop: Shop):
    """However many messages are lost, an entity is loaded again at most once in five seconds, and the last
    loss is not forgotten."""
    for _ in range(100):
        shop.change("1")
        await shop.hears(shop.change("2"))
        await shop.clock.advance(0.1)
    assert 1 <= len(shop.loads) <= 3
    before = len(shop.loads)
    await shop.hears(*shop.peer.bye(shop.clock.now()))
    await shop.clock.advance(7.1)
    assert before < len(shop.loads) <= 5
    settled_at = len(shop.loads)
    await shop.clock.advance(100.0)
    assert len(shop.loads) == settled_at


async def test_a_silent_node(shop: Shop):
    """A node that misses three signs of life has what it spoke of loaded again, once, within the spread."""
    await shop.hears(shop.change("1"), shop.peer.alive(shop.clock.now(), 10.0))
    await shop.clock.advance(29.0)
    assert shop.loads == []
    await shop.clock.advance(12.1)
    assert shop.loads == ["i"]
    await shop.clock.advance(100.0)
    assert shop.loads == ["i"]


async def test_bye(shop: Shop):
    """A node that said bye may fall silent."""
    await shop.hears(shop.change("1"), shop.peer.alive(shop.clock.now(), 10.0))
    await shop.hears(*shop.peer.bye(shop.clock.now()))
    await shop.clock.advance(200.0)
    assert shop.loads == []


async def test_a_missing_order(shop: Shop):
    """An order that never came may have named any entity."""
    await shop.hears(shop.change("1"))
    shop.peer.order(["users"], shop.clock.now())
    await shop.hears(shop.peer.alive(shop.clock.now(), 10.0))
    await shop.clock.advance(2.1)
    assert sorted(shop.loads) == ["i", "u"]


async def test_an_order_that_came(shop: Shop):
    """An order is obeyed once: the beat that tells its number finds nothing missing."""
    order = shop.peer.order(["items"], shop.clock.now())
    shop.broker.inbox.put_nowait(Message(shop.envelope.topic(CONTROL), shop.envelope.seal(CONTROL, order)))
    await shop.clock.advance(0)
    assert shop.loads == ["i"]
    await shop.hears(shop.peer.alive(shop.clock.now(), 10.0))
    await shop.clock.advance(20.0)
    assert shop.loads == ["i"]


async def test_a_gap_of_one_topic_covers_no_other(shop: Shop):
    """What is missing on one topic is loaded although another topic was lost and came back meanwhile."""
    shop.change("1", "users")
    await shop.hears(shop.change("2", "users"))
    shop.broker.inbox.put_nowait(Lost(frozenset({"shop.items"})))
    shop.broker.inbox.put_nowait(Restored(frozenset({"shop.items"})))
    await shop.clock.advance(1.0)
    assert shop.loads == ["i"]
    await shop.clock.advance(2.0)
    assert shop.loads == ["i", "u"]


async def test_what_is_under_way_when_the_link_is_back(shop: Shop):
    """The first message after a gap may follow on ones that nobody sent here: the loads that begin a tenth
    of a second later cover them."""
    await shop.clock.advance(1.0)
    shop.broker.inbox.put_nowait(Lost())
    shop.broker.inbox.put_nowait(Restored())
    await shop.clock.advance(0.03)
    shop.change("1")
    await shop.clock.advance(0.02)
    await shop.hears(shop.change("2"))
    await shop.clock.advance(20.0)
    assert sorted(shop.loads) == ["i", "u"]


async def test_orders_cost_what_the_policy_says(shop: Shop):
    """The same order over and over, forged or replayed, costs a reload each five seconds, of our own."""
    order = shop.peer.order(["items", *map(str, range(100))], shop.clock.now())
    payload = shop.envelope.seal(CONTROL, order)
    for _ in range(20):
        shop.broker.inbox.put_nowait(Message(shop.envelope.topic(CONTROL), payload))
        await shop.clock.advance(0.2)
    assert shop.loads == ["i"]
    await shop.clock.advance(5.0)
    assert shop.loads == ["i", "i"]


async def test_a_go_node_numbers_nothing(shop: Shop):
    """Messages without numbers are served and open nothing, also between numbered ones."""
    unnumbered = Change(EntityKey("items", "i"))
    await shop.hears(shop.change("1"), unnumbered, shop.change("2"))
    await shop.clock.advance(20.0)
    assert shop.loads == ["i"]


async def test_another_entity_than_the_topics(shop: Shop):
    """Where the body names another entity than the topic, its number says nothing about either: it is
    dropped, and the topic's own entity loaded again, as for anything that may stand for something lost."""
    change = Change(EntityKey("users", "u"), Origin(Source("peer", "epoch"), 9, 0))
    shop.broker.inbox.put_nowait(Message("shop.items", shop.envelope.seal("items", change)))
    await shop.clock.advance(20.0)
    assert shop.loads == ["i"]


async def test_forged_numbers_cost_what_the_policy_says(shop: Shop):
    """A thousand forged sources with missing numbers cost one reload each five seconds while they come."""
    for number in range(1_000):
        source = Source(f"forged {number}", "e")
        shop.broker.inbox.put_nowait(
            Message(
                "shop.items", Envelope().seal("items", Change(EntityKey("items", "x"), Origin(source, 7, 0)))
            )
        )
    await shop.clock.advance(4.0)
    assert shop.loads == ["i"]
    await shop.clock.advance(56.0)
    assert shop.loads == ["i"]
    await shop.clock.advance(30.0)  # then they fall silent
    assert len(shop.loads) <= 4


class Policy:
    """Gaps by themselves: a reload of a name each ten seconds at most, a number may come two seconds late."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.reloads: list[tuple[float, list[str]]] = []
        sequences = Sequences(["items", "users"], 2.0)
        self.gaps = Gaps(sequences, self.clock, Random(1), 10.0, self.reload)
        self.peer = Source("peer", "epoch")

    def reload(self, names: Collection[str]) -> None:
        self.reloads.append((self.clock.now(), sorted(names)))


async def test_reloads_are_counted():
    """The count says how many reloads there were, of however many names each."""
    policy = Policy()
    policy.gaps.ordered(["items", "users"])
    await policy.clock.advance(20.0)
    policy.gaps.ordered(["items"])
    await policy.clock.advance(20.0)
    assert policy.reloads == [(0.0, ["items", "users"]), (20.0, ["items"])]
    assert policy.gaps.count == 2


async def test_a_later_suspicion_puts_off_no_reload():
    """A reload that is due at ten seconds stays due then, though another reason would allow one at sixty."""
    policy = Policy()
    policy.gaps.ordered(["items"])
    await policy.clock.advance(1.0)
    policy.gaps.ordered(["items"])
    await policy.clock.advance(1.0)
    policy.gaps.strange("items")
    await policy.clock.advance(100.0)
    assert [at for at, _ in policy.reloads] == [0.0, 10.0]


async def test_a_reload_covers_what_is_missing():
    """A number whose grace has not ended when its name is loaded again costs no second reload."""
    policy = Policy()
    policy.gaps.hear("items", Origin(policy.peer, 1, None))
    policy.gaps.hear("items", Origin(policy.peer, 3, 0))
    await policy.clock.advance(1.0)
    policy.gaps.ordered(["items"])
    await policy.clock.advance(100.0)
    assert policy.reloads == [(1.0, ["items"])]


async def test_whose_silence_is_noticed():
    """Known are the names of a source that said when it speaks next, and nobody else's."""
    policy = Policy()
    policy.gaps.hear("items", Origin(policy.peer, 1, None))
    policy.gaps.learn(Beat(*policy.peer, {"items": (1, 0)}, 1_000))
    assert policy.gaps.knows(policy.peer) == {"items"}
    assert policy.gaps.knows(Source("another", "epoch")) == frozenset()


async def test_an_echo_that_does_not_come_back():
    """When a node does not hear itself for ten seconds at most it says stale, connects anew and heals, though
    its adapter notices nothing."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "i")
        await settled(shop.sync)
        client.pending()
        await shop.clock.advance(12.0)
        assert shop.broker.connects == 1
        shop.broker.carries = False
        await shop.clock.advance(10.0)
        events = [message["event"] for message in client.pending() if message["event"] != "beat"]
        assert events == ["stale"]
        assert not shop.sync.node.link.is_up
        shop.broker.carries = True
        await shop.clock.advance(5.0)
        assert client.pending()[-1]["event"] == "fresh"
        assert shop.loads == ["i", "i"]


async def test_the_age_of_the_link():
    """A beat tells for how long the link is known to have carried everything."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await shop.clock.advance(12.0)
        beats = [message["link_ms"] for message in client.pending() if message["event"] == "beat"]
        assert beats
        assert all(0 <= age <= 5_000 for age in beats)
        shop.broker.carries = False
        await shop.clock.advance(4.0)
        assert [m["link_ms"] for m in client.pending() if m["event"] == "beat"] == [5_000]


async def test_only_signed_letters_count():
    """With keys, unsigned changes and control messages are dropped, signed ones of a peer served."""
    shop = Shop(Signing({"a": "s" * 16}))
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "i")
        await settled(shop.sync)
        shop.broker.inbox.put_nowait(Message("shop.users", b'{"entity":"items","id":"i"}'))
        await shop.clock.advance(0)
        assert shop.loads == ["i"]
        assert shop.sync.node.link.dropped == 1
        await shop.hears(shop.change("i"))
        assert shop.loads == ["i", "i"]


class Bus:
    """Joins many nodes and counts what they say to one another besides changes."""

    def __init__(self) -> None:
        self.members: list[CountingBroker] = []
        self.published = self.delivered = 0


class CountingBroker:
    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.topics: frozenset[str] = frozenset()
        self.inbox: asyncio.Queue[Delivery] = asyncio.Queue()

    async def connect(self) -> None:
        self.bus.members.append(self)

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            self.bus.published += topic == CONTROL
            for member in self.bus.members:
                if topic in member.topics:
                    self.bus.delivered += topic == CONTROL
                    member.inbox.put_nowait(Message(topic, payload))

    async def subscribe(self, topics: Collection[str]) -> None:
        self.topics = self.topics.union(topics)

    async def unsubscribe(self, topics: Collection[str]) -> None: ...

    async def receive(self) -> AsyncIterator[Delivery]:
        while True:
            yield await self.inbox.get()

    async def close(self) -> None:
        self.bus.members.remove(self)


async def traffic(count: int) -> tuple[int, int]:
    """Control messages published and delivered in ten minutes in which 30 keys change."""
    bus = Bus()
    catalog = Catalog()
    catalog.add(Loader.of("items", lambda id: None, per=None, public=True, timeout=1.0))
    application = Application(
        catalog=catalog,
        settings=Settings(echo_interval=900.0, echo_timeout=900.0, beat_interval=900.0, stale_after=2_000.0),
        clock=SystemClock(),
        random=Random(1),
    )
    nodes = [Node(application, CountingBroker(bus)) for _ in range(count)]
    for node in nodes:
        await node.start()
        await node.notify([EntityKey("items", "1")])
    await asyncio.sleep(120.0)  # until each knows how many they are, it speaks more often
    bus.published = bus.delivered = 0
    for node in nodes[:30]:
        await node.notify([EntityKey("items", "2")])
        await asyncio.sleep(20.0)
    found = bus.published, bus.delivered
    for node in nodes:
        await node.close()
    return found


@pytest.mark.slow
def test_control_traffic_grows_as_the_nodes():
    """With ten times the nodes, what all of them hear of one another besides changes grows about tenfold,
    not a hundredfold; what they publish hardly grows."""
    (small_out, small_in), _ = run_in_virtual_time(traffic(30))
    (large_out, large_in), _ = run_in_virtual_time(traffic(300))
    print(f"\n30 nodes: {small_out:,} published, {small_in:,} heard; 300: {large_out:,} and {large_in:,}")
    assert small_out > 0
    assert large_out <= 1.5 * small_out
    assert large_in <= 15 * small_in


async def _refused_view_of_an_earlier_gap() -> list[str]:
    broker, may_load, may_see = EchoingBroker(), asyncio.Event(), True
    sync, number = EntitySync(broker), 1

    @sync.entity("guarded", authorize=lambda user, key: may_see)
    async def guarded(id: str) -> int:
        await may_load.wait()
        return number

    @sync.entity("open")
    async def open_(id: str) -> int:
        now = number
        await asyncio.sleep(1)
        return now

    async with sync, connect(sync) as first, connect(sync) as second:
        may_load.set()
        await first.subscribe("guarded", "1")
        await second.subscribe("open", "1")
        await asyncio.sleep(3)
        may_load.clear()
        for delivery in (Lost(), Restored()):
            broker.inbox.put_nowait(delivery)
        await asyncio.sleep(3)  # all but the guarded view was loaded again
        second.pending()
        broker.inbox.put_nowait(Lost())
        await asyncio.sleep(1)
        number, may_see = 2, False
        broker.inbox.put_nowait(Restored())
        await asyncio.sleep(4)
        return [one["event"] for one in second.pending() if one["event"] != "beat"]


def test_who_loses_a_right_makes_nobody_fresh():
    """A view that an earlier gap still waits for is refused after the next one: what that concerns is loaded
    before `fresh`, though the earlier wait has ended."""
    assert run_in_virtual_time(_refused_view_of_an_earlier_gap())[0] == ["snapshot", "fresh"]
