"""Notifying from processes that serve no sockets."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest

from entity_sync import (
    AsyncPublisher,
    BadId,
    BrokerUnavailable,
    ConfigurationError,
    Entity,
    EntitySync,
    NotRunning,
    Publisher,
)
from entity_sync.brokers.base import TRANSIENT, Delivery
from entity_sync.core import change
from entity_sync.testing import connect
from tests.simulation.loop import run as run_in_virtual_time


class Away:
    """A broker that accepts the n-th publish only."""

    def __init__(self, accepts: int) -> None:
        self.accepts = accepts
        self.tries = 0
        self.accepted: list[bytes] = []
        self.control: list[bytes] = []

    async def connect(self) -> None: ...

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        if topic.endswith(TRANSIENT):
            self.control += payloads
            return
        self.tries += 1
        if self.tries < self.accepts:
            raise BrokerUnavailable("away, for the test")
        self.accepted += payloads

    async def subscribe(self, topics: Collection[str]) -> None: ...

    async def unsubscribe(self, topics: Collection[str]) -> None: ...

    async def receive(self) -> AsyncIterator[Delivery]:
        return
        yield

    async def close(self) -> None: ...


async def test_reaches_the_clients():
    """What a blocking publisher notifies in its thread is shown to the clients of a node."""
    n = 0
    sync = EntitySync("memory://published")

    @sync.entity("items")
    async def item(id: int) -> dict[str, int]:
        return {"n": n}

    def script(entity: str | Entity) -> str:
        with Publisher("memory://published") as publisher:
            return publisher.notify(entity, 7).status

    async with sync, connect(sync) as client:
        await client.subscribe("items", "7")
        await client.receive_until("snapshot")
        named: list[str | Entity] = ["items", item]
        for entity in named:
            n += 1
            assert await asyncio.to_thread(script, entity) == "accepted"
            assert (await client.receive_until("snapshot"))["rows"] == [{"data": {"n": n}}]


async def test_is_patient():
    """While the broker is away it tries again; each key is published once, numbered from 1."""
    broker = Away(accepts=3)
    async with AsyncPublisher(broker) as publisher:
        await publisher.notify("items", "a", 7, UUID(int=0))
    found = [change.decode(payload) for payload in broker.accepted]
    assert [(one.key.id, one.origin.seq) for one in found if one and one.origin] == [
        ("a", 1),
        ("7", 2),
        ("00000000-0000-0000-0000-000000000000", 3),
    ]


async def test_patience_ends():
    """When the patience is over it raises: nothing of a script outlives it."""
    async with AsyncPublisher(Away(accepts=1_000), patience=0.01) as publisher:
        with pytest.raises(BrokerUnavailable):
            await publisher.notify("items", "a")


async def test_mistakes():
    """A name, an id or a use that cannot be right raises before anything is published."""
    broker = Away(accepts=1)
    publisher = AsyncPublisher(broker)
    with pytest.raises(NotRunning):
        await publisher.notify("items", "a")
    async with publisher:
        with pytest.raises(ConfigurationError):
            await publisher.notify("no spaces", "a")
        for wrong in (1.5, None, True, ""):
            with pytest.raises(BadId):
                await publisher.notify("items", wrong)
        with pytest.raises(TypeError):
            await publisher.notify("items")
    assert broker.accepted == []
    with pytest.raises(NotRunning):
        Publisher("memory://").notify("items", "a")


def test_threads_share_a_publisher():
    """Several threads may use one publisher: every key arrives once, numbered without a hole."""
    broker = Away(accepts=1)
    with Publisher(broker) as publisher, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: publisher.notify("items", n), range(200)))
    found = [change.decode(payload) for payload in broker.accepted]
    assert [one.origin.seq for one in found if one and one.origin] == list(range(1, 201))
    assert sorted(int(one.key.id) for one in found if one) == list(range(200))


def test_large_batches():
    """100,000 keys in one call all arrive, in bounded batches."""
    broker = Away(accepts=1)
    with Publisher(broker) as publisher:
        publisher.notify("items", *range(100_000))
    assert len(broker.accepted) == 100_000
    assert broker.tries == 200


class Waiting(Away):
    """A broker whose publish takes for ever."""

    def __init__(self) -> None:
        super().__init__(accepts=1)
        self.is_waiting = threading.Event()

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        self.is_waiting.set()
        await asyncio.get_running_loop().create_future()


def test_closing_ends_what_waits():
    """A thread whose notify is under way when another closes the publisher is told, and does not hang."""
    broker = Waiting()
    with ThreadPoolExecutor(1) as threads:
        with Publisher(broker) as publisher:
            waiting = threads.submit(publisher.notify, "items", 1)
            broker.is_waiting.wait(10)
        with pytest.raises(NotRunning, match="closed"):
            waiting.result(10)
    with pytest.raises(NotRunning):
        publisher.notify("items", 1)


def test_closing_while_threads_notify():
    """However notifies and the close fall together, every thread is answered."""

    def work(publisher: Publisher, has_begun: threading.Event) -> None:
        while True:
            publisher.notify("items", 1)
            has_begun.set()

    with ThreadPoolExecutor(8) as threads:
        for _ in range(30):
            has_begun = threading.Event()
            with Publisher(Away(accepts=1)) as publisher:
                working = [threads.submit(work, publisher, has_begun) for _ in range(8)]
                has_begun.wait(10)
            for each in working:
                with pytest.raises(NotRunning):
                    each.result(10)


def test_opened_again():
    """A closed publisher can be opened again, as another life."""
    broker = Away(accepts=1)
    publisher = Publisher(broker)
    for n in range(2):
        with publisher:
            publisher.notify("items", n)
    first, second = (change.decode(payload) for payload in broker.accepted)
    assert first is not None
    assert second is not None
    assert first.origin is not None
    assert second.origin is not None
    assert (first.origin.seq, second.origin.seq) == (1, 1)
    assert first.origin.source.epoch != second.origin.source.epoch


def test_opened_again_on_another_loop():
    """Also where notifies meet, in the one life and in the other: they wait for one another."""

    class Slow(Away):
        async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
            await asyncio.sleep(0.1)
            await super().publish(topic, payloads)

    broker = Slow(accepts=1)
    publisher = AsyncPublisher(broker)

    async def life() -> list[str]:
        async with publisher:
            receipts = await asyncio.gather(*(publisher.notify("items", n) for n in range(3)))
        return [receipt.status for receipt in receipts]

    for _ in range(2):
        assert run_in_virtual_time(life()) == (["accepted"] * 3, [])
    assert len(broker.accepted) == 6


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child():
    """In a forked child, where its thread is not, an open publisher raises instead of waiting for ever."""
    with Publisher(Away(accepts=1)) as publisher:
        child = os.fork()
        if child == 0:  # nothing may leave this branch
            code = 1
            try:
                publisher.notify("items", 1)
            except NotRunning:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert publisher.notify("items", 1).status == "accepted"


def test_is_closed_when_the_body_raises():
    """An error inside the with statement leaves no thread behind."""
    before = threading.active_count()
    with suppress(ZeroDivisionError), Publisher(Away(accepts=1)):
        assert threading.active_count() == before + 1
        _ = 1 / 0
    assert threading.active_count() == before


class Careful(Away):
    """A broker that takes its time, and whose link is to be closed before it is opened again."""

    def __init__(self, accepts: int) -> None:
        super().__init__(accepts)
        self.calls: list[str] = []
        self.begun = 0

    async def connect(self) -> None:
        self.calls.append("connect")

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        self.begun += 1
        await asyncio.sleep(0.002 if self.begun % 2 else 0)
        await super().publish(topic, payloads)

    async def close(self) -> None:
        self.calls.append("close")


async def test_order_of_calls():
    """A link that refused is closed before it is opened again, and closed in the end."""
    broker = Careful(accepts=2)
    async with AsyncPublisher(broker) as publisher:
        await publisher.notify("items", 1)
        await publisher.notify("items", 2)
    assert broker.calls == ["connect", "close", "connect", "close"]


async def test_one_after_the_other():
    """Notifies of several tasks reach the broker in the order of their numbers."""
    broker = Careful(accepts=1)
    async with AsyncPublisher(broker) as publisher, asyncio.TaskGroup() as group:
        for n in range(20):
            group.create_task(publisher.notify("items", n))
    found = [change.decode(payload) for payload in broker.accepted]
    assert [one.origin.seq for one in found if one and one.origin] == list(range(1, 21))


@pytest.mark.parametrize("leaves_task", [False, True])
def test_bye_is_said(leaves_task: bool):
    """A closed publisher has told its last number, although its broker's driver has tasks of its own."""

    class Driver(Away):
        task: asyncio.Task[None] | None = None

        async def connect(self) -> None:
            self.task = asyncio.create_task(asyncio.Event().wait()) if leaves_task else None  # type: ignore[arg-type]

        async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
            if self.task is not None and self.task.done():
                raise BrokerUnavailable("the driver's task was ended")
            await super().publish(topic, payloads)

        async def close(self) -> None:
            if self.task is not None:
                self.task.cancel()

    broker = Driver(accepts=1)
    with Publisher(broker) as publisher:
        publisher.notify("items", "1")
    assert [b'"bye":true' in payload for payload in broker.control] == [True]
    assert b'"items":[1,' in broker.control[0]


async def test_patience_bounds_what_hangs():
    """A broker that neither accepts nor refuses is given up when the patience is over."""

    class Frozen(Away):
        async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
            await asyncio.Event().wait()

    async with AsyncPublisher(Frozen(accepts=1), patience=0.01) as publisher:
        async with asyncio.timeout(3.0):
            with pytest.raises(BrokerUnavailable):
                await publisher.notify("items", "1")


class Hole(Away):
    """A broker that at some time neither accepts nor refuses, nor lets itself be closed."""

    def __init__(self) -> None:
        super().__init__(accepts=1)
        self.carries = True
        self.is_hanging = asyncio.Event()

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        if not self.carries:
            self.is_hanging.set()
            await asyncio.Event().wait()
        await super().publish(topic, payloads)

    async def close(self) -> None:
        if not self.carries:
            await asyncio.Event().wait()


def test_a_black_hole():
    """A broker that falls silent between two notifies costs the second its patience, though a beat hangs in
    it, and is used again when it carries again."""

    async def scenario() -> tuple[float, list[bytes]]:
        broker, loop = Hole(), asyncio.get_running_loop()
        async with AsyncPublisher(broker, patience=1.0) as publisher:
            await publisher.notify("items", "1")
            broker.carries = False
            await broker.is_hanging.wait()  # the beat
            began = loop.time()
            with pytest.raises(BrokerUnavailable):
                await publisher.notify("items", "2")
            took = loop.time() - began
            broker.carries = True
            await asyncio.sleep(5.0)
            await publisher.notify("items", "3")
        return took, broker.accepted

    (took, accepted), _ = run_in_virtual_time(scenario())
    assert took == pytest.approx(1.0)
    assert [found.key.id for found in map(change.decode, accepted) if found] == ["1", "3"]


def test_patience_of_many():
    """Notifies that wait for one another are as patient as each alone."""

    async def scenario() -> list[float]:
        loop = asyncio.get_running_loop()
        async with AsyncPublisher(Away(accepts=1_000), patience=3.0) as publisher:

            async def notify(id: int) -> float:
                with pytest.raises(BrokerUnavailable):
                    await publisher.notify("items", id)
                return loop.time()

            began = loop.time()
            return [at - began for at in await asyncio.gather(*map(notify, range(5)))]

    took, _ = run_in_virtual_time(scenario())
    assert max(took) <= 4.0


def test_beats_survive_an_adapter_that_fails():
    """Whatever an adapter raises at a beat, the last numbers are told when it works again."""

    async def scenario() -> list[bytes]:
        broker = Away(accepts=1)
        async with AsyncPublisher(broker) as publisher:
            await publisher.notify("items", "1")
            broker.control = Failing()  # type: ignore[assignment]
            await asyncio.sleep(5.0)
            broker.control = []
            await publisher.notify("items", "2")
            await asyncio.sleep(5.0)
            return list(broker.control)

    class Failing:
        def __iadd__(self, _payloads: object) -> Any:
            raise ZeroDivisionError

    control, _ = run_in_virtual_time(scenario())
    assert [b'"items":[2,' in payload for payload in control] == [True]
