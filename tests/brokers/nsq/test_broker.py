"""The NSQ adapter against a real nsqd: the contract of every adapter, and what is NSQ's own."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from entity_sync.brokers.base import Broker, Message
from entity_sync.brokers.nsq import NsqBroker
from entity_sync.brokers.nsq import connection as connection_module
from entity_sync.errors import BrokerUnavailable, ConfigurationError
from entity_sync.testing import BrokerOutageContract
from tests.support.outages import ServerOutages
from tests.support.servers import Nsqd, running

pytestmark = pytest.mark.needs("nsqd")


@pytest.fixture
async def nsqd(tmp_path):
    async with running("nsq", tmp_path) as server:
        yield server


async def joined(url: str, *topics: str) -> NsqBroker:
    broker = NsqBroker(url)
    await broker.connect()
    await broker.subscribe(topics)
    return broker


async def received(broker: Broker, count: int) -> list[Message]:
    found = broker.receive()
    async with asyncio.timeout(10):
        deliveries = [await anext(found) for _ in range(count)]
    messages = [one for one in deliveries if isinstance(one, Message)]
    assert len(messages) == count, deliveries
    return messages


async def drained(broker: Broker) -> None:
    async for _ in broker.receive():
        pass


class TestNsq(ServerOutages, BrokerOutageContract):
    """`nsq://` by the public contract."""

    is_ordered = False
    carries_empty = False

    @pytest.fixture(autouse=True)
    async def _server(self, nsqd):
        self.server = nsqd

    async def make(self) -> Broker:
        """A node of the same nsqd."""
        return NsqBroker(self.server.url)


async def test_ready_is_not_used_up(nsqd):
    """RDY, sent once, is how many messages may be unfinished: 10,000 messages come with RDY 2,500."""
    broker = await joined(nsqd.url, "items")
    for n in range(5):
        await broker.publish("items", [b"%d" % n] * 2_000)
        assert {message.payload for message in await received(broker, 2_000)} == {b"%d" % n}
    await broker.close()


async def test_publishes_in_flight_at_once(nsqd):
    """500 publishes at once to two topics all arrive, each once and on its topic."""
    broker = await joined(nsqd.url, "a", "b")
    wanted = [("a" if n % 3 else "b", b"%d" % n) for n in range(500)]
    await asyncio.gather(*(broker.publish(topic, [payload]) for topic, payload in wanted))
    assert sorted((m.topic, m.payload) for m in await received(broker, 500)) == sorted(wanted)
    await broker.close()


async def test_topics_that_may_go(nsqd):
    """A topic ``….transient`` arrives under that name, and nsqd forgets it with its last subscriber."""
    broker = await joined(nsqd.url, "beats.transient")
    await broker.publish("beats.transient", [b"1"])
    assert await received(broker, 1) == [Message("beats.transient", b"1")]
    await broker.close()
    async with asyncio.timeout(10):
        while "TOPIC(beats#ephemeral): deleting" not in nsqd.log():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("topic", ["", "bad topic", "a\nPUB b", "x" * 65, "a#ephemeral", "ü", ".transient"])
async def test_names_are_checked_before_they_are_sent(nsqd, topic):
    """What could be more than one word of a command, or what nsqd refuses, is refused without asking it."""
    broker = await joined(nsqd.url, "items")
    with pytest.raises(ConfigurationError):
        await broker.publish(topic, [b"1"])
    with pytest.raises(ConfigurationError):
        await broker.subscribe([topic])
    await broker.publish("items", [b"still there"])
    assert await received(broker, 1) == [Message("items", b"still there")]
    await broker.close()


async def test_unsubscribed_topic_is_forgotten(nsqd):
    """What waits for `receive` of a topic that is unsubscribed is not delivered; it can come back."""
    broker = await joined(nsqd.url, "items", "users")
    await broker.publish("items", [b"1"])
    await broker.publish("users", [b"2"])
    assert broker._inbox is not None
    async with asyncio.timeout(10):
        while len(broker._inbox._waiting) < 2:
            await asyncio.sleep(0.01)
    await broker.unsubscribe(["items", "never"])
    assert await received(broker, 1) == [Message("users", b"2")]
    await broker.subscribe(["items"])
    await broker.publish("items", [b"3"])
    assert await received(broker, 1) == [Message("items", b"3")]
    await broker.close()


async def test_subscribing_twice_is_once(nsqd):
    """A topic that is subscribed already, or by two calls at once, is not subscribed again."""
    broker = await joined(nsqd.url, "items", "items")
    await asyncio.gather(*(broker.subscribe(["items", "users"]) for _ in range(3)))
    await broker.publish("items", [b"1"])
    await broker.publish("users", [b"2"])
    assert sorted(m.payload for m in await received(broker, 2)) == [b"1", b"2"]
    await broker.close()


async def test_too_large_for_nsqd(nsqd):
    """A payload above nsqd's limit is refused with nsqd's own words."""
    broker = await joined(nsqd.url)
    with pytest.raises(BrokerUnavailable, match="E_BAD_MESSAGE"):
        await broker.publish("items", [bytes(2_000_000)])
    await broker.close()


async def test_nobody_there(nsqd):
    """Without an nsqd `connect` says so, and names the address, not the secret."""
    await nsqd.stop()
    broker = NsqBroker(nsqd.url.replace("//", "//:hush@"))
    with pytest.raises(BrokerUnavailable, match=rf"127\.0\.0\.1:{nsqd.port}") as caught:
        await broker.connect()
    assert "hush" not in str(caught.value)
    for use in (broker.publish("items", [b"1"]), broker.subscribe(["items"]), drained(broker)):
        with pytest.raises(BrokerUnavailable, match="not connected"):
            await use
    await broker.close()


async def test_killed_with_publishes_in_flight(nsqd):
    """Each publish in flight when nsqd is killed ends or raises; `receive` and later ones raise."""
    broker = await joined(nsqd.url, "items")
    listening = asyncio.create_task(drained(broker))
    accepted = 0

    async def publish() -> None:
        nonlocal accepted
        while True:
            await broker.publish("items", [b"1"])
            accepted += 1

    publishing = [asyncio.create_task(publish()) for _ in range(50)]
    while accepted < 500:
        await asyncio.sleep(0)
    nsqd.kill()
    async with asyncio.timeout(5):
        found = await asyncio.gather(*publishing, listening, return_exceptions=True)
    assert {type(one) for one in found} == {BrokerUnavailable}
    with pytest.raises(BrokerUnavailable):
        await broker.publish("items", [b"1"])
    await broker.close()


async def test_restart(nsqd):
    """After nsqd is back on its port, the same adapter connects again and everything works."""
    broker = await joined(nsqd.url, "items")
    nsqd.kill()
    with pytest.raises(BrokerUnavailable):
        async with asyncio.timeout(5):
            await drained(broker)
    await broker.close()
    await nsqd.start()
    await broker.connect()
    await broker.subscribe(["items"])
    await broker.publish("items", [b"back"])
    assert await received(broker, 1) == [Message("items", b"back")]
    await broker.close()


async def test_frozen_while_listening(nsqd, monkeypatch):
    """An nsqd that is stopped is noticed after two heartbeats, by listening alone; `close` does not hang."""
    monkeypatch.setattr(connection_module, "_HEARTBEAT", 1.0)
    broker = await joined(nsqd.url, "items")
    nsqd.freeze()
    with pytest.raises(BrokerUnavailable, match="silent"):
        async with asyncio.timeout(4):
            await drained(broker)
    async with asyncio.timeout(2.5):
        await broker.close()
    nsqd.thaw()


@pytest.mark.slow
async def test_frozen_at_the_real_pace(nsqd):
    """A stopped nsqd is noticed within 10 s; what is published and asked for meanwhile fails within 5 s."""
    broker, late = await joined(nsqd.url, "items"), NsqBroker(nsqd.url)
    publisher = await joined(nsqd.url)
    nsqd.freeze()

    async def seconds(use) -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(BrokerUnavailable):
            await use
        return asyncio.get_running_loop().time() - began

    noticed, *failed = await asyncio.gather(
        seconds(drained(broker)),
        seconds(publisher.publish("items", [b"1"])),
        seconds(late.connect()),
        seconds(publisher.subscribe(["items"])),
    )
    assert noticed < 10
    assert max(failed) < 5
    for one in (broker, late, publisher):
        async with asyncio.timeout(2.5):
            await one.close()
    nsqd.thaw()


async def test_frozen_and_thawed(nsqd):
    """A pause shorter than two heartbeats loses nothing: what was published before and after arrives."""
    broker = await joined(nsqd.url, "items")
    nsqd.freeze()
    publishing = asyncio.create_task(broker.publish("items", [b"1"]))
    await asyncio.sleep(0.5)  # the pause itself is what is tested
    assert not publishing.done()
    nsqd.thaw()
    await publishing
    assert await received(broker, 1) == [Message("items", b"1")]
    await broker.close()


@pytest.mark.slow
async def test_own_stall(nsqd):
    """A loop that stands still for 5 s keeps its subscription, and a publish that was under way succeeds."""
    broker = await joined(nsqd.url, "items")
    publishing = asyncio.create_task(broker.publish("items", [b"1"]))
    await asyncio.sleep(0)
    time.sleep(5.0)
    await publishing
    await broker.publish("items", [b"2"])
    assert {m.payload for m in await received(broker, 2)} == {b"1", b"2"}
    await broker.close()


async def test_cancelled_calls_leave_nothing(nsqd):
    """Calls that are cancelled while nsqd is stopped leave no connection and do no harm."""
    broker, late = await joined(nsqd.url, "items"), NsqBroker(nsqd.url)
    nsqd.freeze()
    tasks = [
        asyncio.create_task(use)
        for use in (late.connect(), broker.subscribe(["a", "b"]), broker.publish("items", [b"1"]))
    ]
    done, _ = await asyncio.wait(tasks, timeout=0.2)
    assert not done
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    nsqd.thaw()
    await broker.publish("items", [b"2"])
    assert {m.payload for m in await received(broker, 2)} == {b"1", b"2"}
    assert list(broker._topics) == ["items"]
    await broker.close()
    await late.close()


async def test_close_during_subscribe(nsqd):
    """A `close` that overtakes `subscribe` wins: it raises, and nothing stays open."""
    broker = await joined(nsqd.url)
    subscribing = asyncio.create_task(broker.subscribe([f"t{n}" for n in range(20)]))
    await asyncio.sleep(0)
    await broker.close()
    with pytest.raises(BrokerUnavailable):
        await subscribing
    assert broker._topics == {}


async def test_close_during_connect(nsqd):
    """A `close` that overtakes `connect` wins: it raises, and nothing stays open."""
    broker = NsqBroker(nsqd.url)
    nsqd.freeze()
    connecting = asyncio.create_task(broker.connect())
    await asyncio.wait([connecting], timeout=0.1)
    await broker.close()
    nsqd.thaw()
    with pytest.raises(BrokerUnavailable, match="meanwhile"):
        await connecting
    assert broker._publisher is None


async def test_several_nsqds(nsqd, tmp_path_factory):
    """With several nsqds all are listened to and the first is published to; any one that ends is told."""
    other = Nsqd(tmp_path_factory.mktemp("other"))
    await other.start()
    try:
        both = await joined(f"nsq://127.0.0.1:{nsqd.port},127.0.0.1:{other.port}", "items")
        one, two = await joined(nsqd.url, "items"), await joined(other.url, "items")
        await both.publish("items", [b"1"])
        assert await received(one, 1) == await received(both, 1) == [Message("items", b"1")]
        await two.publish("items", [b"2"])
        assert await received(both, 1) == await received(two, 1) == [Message("items", b"2")]
        other.kill()
        with pytest.raises(BrokerUnavailable, match=str(other.port)):
            async with asyncio.timeout(5):
                await drained(both)
        for broker in (both, one, two):
            await broker.close()
    finally:
        await other.stop()


@pytest.mark.parametrize(
    "url", ["nsq://", "nsq://host:x", "nsqs://h?ca=/no/such/file", "nsq+lookup://h?nsqd=:x"]
)
def test_urls_that_cannot_be(url):
    """A URL without a host, or with what cannot be used, is a mistake in the set-up."""
    with pytest.raises(ConfigurationError):
        NsqBroker(url)


def test_plaintext_that_leaves_the_machine_is_warned_of(caplog):
    """A link in the clear to another machine is warned of, one to this machine or with TLS is not."""
    with caplog.at_level(logging.WARNING):
        NsqBroker("nsq://:hush@127.0.0.1")
        NsqBroker("nsqs://nsq.example")
        assert caplog.text == ""
        NsqBroker("nsq://:hush@nsq.example")
    assert "nsqs://" in caplog.text
    assert "hush" not in caplog.text
