"""What the link makes of adapters, good and bad, of which it knows only the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from itertools import pairwise

import pytest

from entity_sync import BrokerUnavailable, EntitySync, Settings
from entity_sync.brokers.base import TRANSIENT, Broker, Delivery, Lost, Message, Restored
from entity_sync.errors import ConfigurationError
from entity_sync.testing import FakeClock, MemoryClient, connect, settled


class StrictBroker:
    """An adapter that notes its calls and delivers what the test puts into its inbox."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refusals: list[BaseException] = []
        self.inbox: asyncio.Queue[Delivery | BaseException] = asyncio.Queue()
        self.publishing: list[BaseException] = []
        self.is_deaf = False
        self.unheard: list[Message] = []
        self.published: list[tuple[str, int]] = []
        self.closing: list[BaseException | None] = []

    def hear(self) -> None:
        """Bring back what the node sent to itself."""
        while self.unheard:
            self.inbox.put_nowait(self.unheard.pop(0))

    async def connect(self) -> None:
        self.calls.append("connect")
        if self.refusals:
            raise self.refusals.pop(0)

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        if topic.endswith(TRANSIENT):
            self.unheard += [Message(topic, payload) for payload in payloads]
            if not self.is_deaf:
                self.hear()
            return
        if self.publishing:
            raise self.publishing.pop(0)
        self.published.append((topic, len(payloads)))

    async def subscribe(self, topics: Collection[str]) -> None:
        names = sorted(topic for topic in topics if not topic.endswith(TRANSIENT))
        self.calls.append(f"subscribe {' '.join(names)}")

    async def unsubscribe(self, topics: Collection[str]) -> None:
        self.calls.append("unsubscribe")

    async def receive(self) -> AsyncIterator[Delivery]:
        while True:
            delivery = await self.inbox.get()
            if isinstance(delivery, BaseException):
                raise delivery
            yield delivery

    async def close(self) -> None:
        self.calls.append("close")
        if self.closing:
            failure = self.closing.pop(0)
            if failure is None:
                await asyncio.Event().wait()
            else:
                raise failure


class Shop:
    """Items and users on that adapter, at a time that the test moves."""

    def __init__(self) -> None:
        self.broker = StrictBroker()
        self.clock = FakeClock()
        self.sync = EntitySync(
            self.broker, clock=self.clock, settings=Settings(beat_interval=1e6, stale_after=2e6)
        )
        self.loads: list[str] = []
        for name in ("items", "users"):
            self.sync.entity(name)(self.load)

    async def load(self, id: str) -> dict[str, str]:
        self.loads.append(id)
        return {"id": id}

    async def happens(self, *deliveries: Delivery | BaseException) -> None:
        for delivery in deliveries:
            self.broker.inbox.put_nowait(delivery)
        await self.clock.advance(0)


async def watch(client: MemoryClient, sync: EntitySync) -> None:
    body = [{"entity": "items", "id": "i"}, {"entity": "users", "id": "u"}]
    await client.send({"action": "subscribe", "body": body})
    await settled(sync)
    client.pending()


def events(client: MemoryClient) -> list[str]:
    return [message["event"] for message in client.pending()]


def test_the_double_is_a_broker():
    """The scripted adapter has everything the protocol names."""
    assert isinstance(StrictBroker(), Broker)


@pytest.mark.parametrize(("first", "second"), [("items", "users"), ("users", "items")])
async def test_fresh_when_every_lost_topic_is_back(first: str, second: str):
    """Of two topics lost one after the other, the return of either is not yet fresh, that of both is."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await watch(client, shop.sync)
        await shop.happens(Lost(frozenset({"items"})), Lost(frozenset({"users"})))
        assert events(client) == ["stale"]
        shop.loads.clear()
        await shop.happens(Restored(frozenset({first})))
        await shop.clock.advance(1.0)
        assert events(client) == []
        assert shop.loads == [first[0]]
        assert not shop.sync.node.link.is_up
        await shop.happens(Restored(frozenset({second})))
        await shop.clock.advance(1.0)
        assert events(client) == ["fresh"]
        assert shop.loads == [first[0], second[0]]


async def test_an_adapter_that_heals_itself_is_left_to_it():
    """While an adapter says that everything is lost, nothing comes back of what the node sends to itself,
    and that closes no connection."""
    shop = Shop()
    async with shop.sync:
        shop.broker.calls.clear()
        shop.broker.is_deaf = True
        await shop.happens(Lost())
        await shop.clock.advance(60.0)
        assert shop.broker.calls == []
        shop.broker.is_deaf = False
        await shop.happens(Restored())
        await shop.clock.advance(60.0)
        assert shop.broker.calls == []
        assert shop.sync.node.link.is_up


async def test_return_of_one_topic_after_all_were_lost():
    """When everything was lost, one topic's return is not fresh; a return of everything is."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await watch(client, shop.sync)
        await shop.happens(Lost(), Restored(frozenset({"items"})))
        await shop.clock.advance(1.0)
        assert events(client) == ["stale"]
        await shop.happens(Restored())
        await shop.clock.advance(1.0)
        assert events(client) == ["fresh"]


async def test_gap_of_foreign_topics():
    """A gap that names topics we do not have ends with the return of those we have."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await watch(client, shop.sync)
        await shop.happens(Lost(frozenset({"items", "foreign"})), Restored(frozenset({"items"})))
        await shop.clock.advance(1.0)
        assert shop.sync.node.link.is_up
        assert events(client)[-1:] == ["fresh"]


async def test_lost_again_during_the_resync():
    """A second gap during the resync of the first: fresh only after the resync of the second."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await watch(client, shop.sync)
        shop.loads.clear()
        await shop.happens(Lost(), Restored(), Lost())
        await shop.clock.advance(1.0)
        assert events(client) == ["stale"]
        await shop.happens(Restored())
        await shop.clock.advance(1.0)
        assert events(client) == ["fresh"]
        assert sorted(shop.loads) == ["i", "i", "u", "u"]


@pytest.mark.parametrize("error", [BrokerUnavailable("cut"), OSError("a driver's own"), ZeroDivisionError()])
async def test_link_that_ends_in_any_way(error: Exception):
    """However receiving ends: stale, closed before it is connected again, all topics, resync, fresh."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await watch(client, shop.sync)
        shop.broker.calls.clear()
        shop.loads.clear()
        await shop.happens(error)
        assert events(client) == ["stale"]
        assert shop.broker.calls == ["close"]
        await shop.clock.advance(1.0)
        assert shop.broker.calls == ["close", "connect", "subscribe items users"]
        assert events(client) == ["fresh"]
        assert sorted(shop.loads) == ["i", "u"]
    assert shop.broker.calls[-1] == "close"


async def test_tries_are_spaced():
    """An absent broker is tried with growing pauses of at most two seconds, closed after each failure."""
    shop = Shop()
    shop.broker.refusals = [BrokerUnavailable("away") for _ in range(1_000)]
    async with shop.sync:
        await shop.clock.advance(60.0)
        tries = shop.broker.calls.count("connect")
        assert 60 / 2 <= tries <= 80
        assert shop.broker.calls[:4] == ["connect", "close"] * 2
        assert not shop.sync.node.is_ready
        shop.broker.refusals.clear()
        await shop.clock.advance(2.0)
        assert shop.sync.node.is_ready


async def test_pauses_between_tries_grow_to_two_seconds():
    """The first tries follow within a tenth of a second; however long the broker is away, none is later
    than two seconds after the one before."""
    shop = Shop()
    shop.broker.refusals = [BrokerUnavailable("away") for _ in range(1_000)]
    async with shop.sync:
        tries = [0.0]
        while shop.clock.now() < 60.0:
            before = shop.broker.calls.count("connect")
            await shop.clock.advance(0.01)
            if shop.broker.calls.count("connect") > before:
                tries.append(shop.clock.now())
        pauses = [after - before for before, after in pairwise(tries)]
        assert max(pauses[:2]) <= 0.11
        assert 1.5 <= max(pauses) <= 2.01


@pytest.mark.parametrize("error", [ConfigurationError("never"), TypeError("a broken adapter")])
async def test_adapter_that_cannot_work(error: Exception):
    """What can never work stops the start with its reason, and leaves nothing running."""
    shop = Shop()
    shop.broker.refusals = [error]
    before = asyncio.all_tasks()
    with pytest.raises(type(error), match=str(error)):
        await shop.sync.__aenter__()
    assert asyncio.all_tasks() == before
    assert shop.broker.calls == ["connect", "close"]
    async with shop.sync:
        assert shop.sync.node.is_ready


async def test_publish_that_fails_once():
    """A key whose publish failed is kept and published again, though the link never said it was lost."""
    shop = Shop()
    async with shop.sync:
        shop.broker.publishing = [BrokerUnavailable("full"), BrokerUnavailable("full")]
        assert (await shop.sync.notify("items", "1", "2")).status == "deferred"
        assert (await shop.sync.notify("users", "3")).status == "deferred"
        await shop.clock.advance(1.0)
        assert sorted(shop.broker.published) == [("items", 2), ("users", 1)]
        assert (await shop.sync.notify("items", "4")).status == "accepted"


async def test_kept_key_needs_no_second_place():
    """A key that is kept already can be notified again when no place is left."""
    shop = Shop()
    shop.sync = EntitySync(shop.broker, clock=shop.clock, settings=Settings(max_deferred=1))
    shop.sync.entity("items")(shop.load)
    shop.broker.refusals = [BrokerUnavailable("away")]
    async with shop.sync:
        for _ in range(3):
            assert (await shop.sync.notify("items", "1", "1")).status == "deferred"
        await shop.clock.advance(1.0)
        assert shop.broker.published == [("items", 1)]


async def test_messages_before_and_after_a_gap():
    """Messages are served also while some topic is lost."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await watch(client, shop.sync)
        shop.loads.clear()
        await shop.happens(Lost(frozenset({"users"})), Message("items", b'{"entity":"items","id":"i"}'))
        assert shop.loads == ["i"]


async def test_kept_keys_go_out_in_batches():
    """Keys that were kept are handed over at most 500 at once, all of them, in order."""
    shop = Shop()
    shop.broker.refusals = [BrokerUnavailable("away")]
    async with shop.sync:
        assert (await shop.sync.notify("items", *map(str, range(1_200)))).status == "deferred"
        await shop.clock.advance(1.0)
        assert shop.broker.published == [("items", 500), ("items", 500), ("items", 200)]


async def test_pauses_start_over():
    """After a link that worked, the first try comes soon again, however long the pauses had become."""
    shop = Shop()
    shop.broker.refusals = [BrokerUnavailable("away") for _ in range(10)]
    async with shop.sync:
        await shop.clock.advance(60.0)
        assert shop.sync.node.link.is_up
        shop.broker.calls.clear()
        await shop.happens(BrokerUnavailable("cut"))
        await shop.clock.advance(0.1)
        assert "connect" in shop.broker.calls


async def test_resync_that_loses_its_last_view():
    """A gap ends although everything that was to be loaded again is dropped meanwhile."""
    shop = Shop()
    may_load = asyncio.Event()

    async def load(id: str) -> None:
        await may_load.wait()

    shop.sync.entity("slow")(load)
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as other:
        await client.subscribe("slow", "1")
        await shop.happens(Lost(), Restored())
        await client.send({"action": "unsubscribe", "body": {"entity": "slow", "id": "1"}})
        await shop.clock.advance(0.1)
        assert events(client)[-1] == "fresh"
        await other.subscribe("items", "1")
        await settled(shop.sync)
        assert events(other) == ["ack", "snapshot"]


async def test_load_from_before_the_return_is_not_enough():
    """A load that began before the broker confirmed does not end the gap: one that begins after it does."""
    shop = Shop()
    loads: list[asyncio.Event] = []

    async def load(id: str) -> dict[str, int]:
        loads.append(asyncio.Event())
        await loads[-1].wait()
        return {"n": len(loads)}

    shop.sync.entity("slow")(load)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("slow", "1")
        await shop.happens(Lost(), Restored())
        loads[0].set()
        await shop.clock.advance(1.0)
        assert events(client) == ["ack", "stale", "snapshot"]
        loads[1].set()
        await shop.clock.advance(1.0)
        assert events(client) == ["snapshot", "fresh"]


@pytest.mark.parametrize("is_first", [True, False])
async def test_driver_that_cancels_itself(is_first: bool):
    """A driver may raise CancelledError that we did not ask for: the link is opened anew all the same."""
    shop = Shop()
    if is_first:
        shop.broker.refusals = [BrokerUnavailable("away"), asyncio.CancelledError()]
    async with shop.sync, connect(shop.sync) as client:
        await shop.clock.advance(5.0)
        await watch(client, shop.sync)
        await shop.happens(asyncio.CancelledError())
        assert events(client) == ["stale"]
        await shop.clock.advance(5.0)
        assert events(client) == ["fresh"]


async def test_adapter_that_fails_at_the_second_try():
    """Once the node runs, whatever an adapter raises is tried again, though it never worked before."""
    shop = Shop()
    shop.broker.refusals = [BrokerUnavailable("away"), ZeroDivisionError()]
    async with shop.sync:
        await shop.clock.advance(5.0)
        assert shop.sync.node.is_ready


async def test_restored_is_not_heard():
    """A topic that is back does not make a link of one that has not heard itself; one that is lost before
    the node heard itself stays lost."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await watch(client, shop.sync)
        shop.broker.is_deaf = True
        await shop.happens(BrokerUnavailable("cut"))
        await shop.clock.advance(0.1)
        await shop.happens(
            Lost(frozenset({"users"})), Restored(frozenset({"users"})), Lost(frozenset({"items"}))
        )
        await shop.clock.advance(1.0)
        assert events(client) == ["stale"]
        shop.broker.hear()
        await shop.clock.advance(1.0)
        assert events(client) == []
        await shop.happens(Restored(frozenset({"items"})))
        await shop.clock.advance(1.0)
        assert events(client) == ["fresh"]


async def test_publishes_while_a_topic_is_lost():
    """A topic that is lost to this node is no reason to keep what it tells the others."""
    shop = Shop()
    async with shop.sync:
        await shop.happens(Lost(frozenset({"users"})))
        assert (await shop.sync.notify("items", "1")).status == "accepted"


async def test_flush_that_is_interrupted():
    """What was taken out to be published and was not is kept, whatever the adapter raised."""
    shop = Shop()
    shop.broker.refusals = [BrokerUnavailable("away")]
    async with shop.sync:
        assert (await shop.sync.notify("items", "1")).status == "deferred"
        shop.broker.publishing = [asyncio.CancelledError(), ZeroDivisionError()]
        await shop.clock.advance(5.0)
        assert shop.broker.published == [("items", 1)]


@pytest.mark.parametrize("failure", [None, asyncio.CancelledError(), ZeroDivisionError()])
async def test_a_close_that_does_not_end_well(failure: BaseException | None):
    """An adapter whose close hangs or raises is connected again all the same."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await watch(client, shop.sync)
        shop.broker.closing = [failure]
        await shop.happens(BrokerUnavailable("cut"))
        await shop.clock.advance(12.0)
        assert shop.broker.calls.count("connect") == 2
        assert events(client) == ["stale", "fresh"]


async def test_notify_that_the_end_overtakes():
    """A notify that is on its way when the node ends is deferred, and starts nothing that goes on."""
    shop = Shop()
    before = asyncio.all_tasks()
    is_closed = asyncio.Event()

    async def publish(topic: str, payloads: Sequence[bytes]) -> None:
        if not topic.endswith(TRANSIENT):
            await is_closed.wait()
            raise BrokerUnavailable("closed")

    async def close() -> None:
        is_closed.set()

    async with shop.sync:
        shop.broker.publish, shop.broker.close = publish, close  # type: ignore[method-assign]
        notifying = asyncio.create_task(shop.sync.notify("items", "1"))
        await shop.clock.advance(0)
    assert (await notifying).status == "deferred"
    assert asyncio.all_tasks() == before
