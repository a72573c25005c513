"""What a node tells the others of itself, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from entity_sync import BrokerUnavailable, Settings, Signing
from entity_sync.brokers.base import Delivery
from entity_sync.core.announce import Announcer
from entity_sync.core.control import Beat, Order
from entity_sync.core.envelope import CONTROL, Envelope
from entity_sync.hub.outgoing import Outgoing
from entity_sync.model import Change, EntityKey, Source
from entity_sync.testing import FakeClock

ENVELOPE = Envelope("shop.", Signing({"a": "s" * 16}))


class Notebook:
    """A broker that notes when what was published where.

    Attributes:
        refuses: which publishes it refuses, counted from 1.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.is_away = False
        self.hangs: asyncio.Event | None = None
        self.refuses: set[int] = set()
        self.tries: list[float] = []
        self.beats: list[tuple[float, Beat]] = []
        self.orders: list[tuple[str, ...]] = []
        self.numbers: list[int] = []  # of changes, each time that they were tried
        self.order_numbers: list[int] = []
        self.changes = 0

    async def publish(self, topic: str, payloads: Sequence[bytes]) -> None:
        self.tries.append(self.clock.now())
        letters = [ENVELOPE.open(topic, payload) for payload in payloads]
        self.numbers += [each.origin.seq for each in letters if isinstance(each, Change) and each.origin]
        self.order_numbers += [each.seq for each in letters if isinstance(each, Order)]
        if self.hangs is not None:
            await self.hangs.wait()
        if self.is_away or len(self.tries) in self.refuses:
            raise BrokerUnavailable("away, for the test")
        for letter in letters:
            if isinstance(letter, Beat):
                self.beats.append((self.clock.now(), letter))
            elif isinstance(letter, Order):
                self.orders.append(letter.entities)
            else:
                assert isinstance(letter, Change)
                self.changes += 1

    async def connect(self) -> None: ...

    async def subscribe(self, topics: Collection[str]) -> None: ...

    async def unsubscribe(self, topics: Collection[str]) -> None: ...

    async def receive(self) -> AsyncIterator[Delivery]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]

    async def close(self) -> None: ...


class Speaker:
    """A node's outgoing half, at a time that the test moves."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.broker = Notebook(self.clock)
        self.peers = 1
        self.polls = 0
        self.out = Outgoing(
            self.broker,
            ENVELOPE,
            Announcer(Source("p", "e")),
            lambda: True,
            settings=Settings(**settings),
            clock=self.clock,
            random=Random(1),
        )

    def poll(self) -> None:
        self.polls += 1

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[list[tuple[float, Beat]]]:
        """The signs of life of a node that notified once: those beats that say when the next one comes."""
        await self.out.publish([Change(EntityKey("items", "1"))])
        task = asyncio.get_running_loop().create_task(self.out.beat(lambda: self.peers, self.poll))
        found: list[tuple[float, Beat]] = []
        try:
            yield found
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            found += [(at, beat) for at, beat in self.broker.beats if beat.next_ms is not None]


async def test_signs_of_life():
    """Who has spoken tells its numbers again before the time is over that the sign before promised, and not
    much more often."""
    speaker = Speaker()
    async with speaker.beating() as signs:
        await speaker.clock.advance(100.0)
    assert signs[0][0] <= 2.0
    for (before, beat), (after, _) in pairwise(signs):
        assert beat.next_ms is not None
        assert beat.topics["items"][0] == 1
        assert 0.7 * beat.next_ms <= (after - before) * 1_000 <= beat.next_ms + 1_000
    assert len(signs) >= 9


@pytest.mark.parametrize(("peers", "promised"), [(1, 10_000), (400, 100_000), (100_000, 600_000)])
async def test_many_nodes_speak_rarely(peers: int, promised: int):
    """The more nodes there are, the longer each may be silent, up to ten minutes."""
    speaker = Speaker()
    speaker.peers = peers
    async with speaker.beating() as signs:
        await speaker.clock.advance(promised / 1_000 + 5.0)
    assert [beat.next_ms for _, beat in signs] == [promised] * 2


async def test_who_has_said_nothing():
    """A node that never notified sends no signs of life, and looks for those of others all the same."""
    speaker = Speaker()
    task = asyncio.get_running_loop().create_task(speaker.out.beat(lambda: 1, speaker.poll))
    await speaker.clock.advance(60.0)
    assert speaker.broker.beats == []
    assert speaker.polls >= 50
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_last_message_is_told_of_soon():
    """A second after its last message a node tells its number, once."""
    speaker = Speaker()
    async with speaker.beating():
        await speaker.clock.advance(9.0)
    quiet = [(at, beat.topics) for at, beat in speaker.broker.beats if beat.next_ms is None]
    assert len(quiet) == 1
    assert quiet[0][0] <= 2.0
    assert quiet[0][1]["items"][0] == 1


async def test_a_beat_that_is_refused_ends_nothing():
    """While the broker refuses, beats are lost; afterwards they go on."""
    speaker = Speaker()
    async with speaker.beating() as signs:
        await speaker.clock.advance(2.0)
        speaker.broker.is_away = True
        await speaker.clock.advance(30.0)
        speaker.broker.is_away = False
        await speaker.clock.advance(20.0)
    assert len(signs) >= 2
    assert signs[-1][0] > 32.0


async def test_bye():
    """The last words tell every number and that nothing follows; who has said nothing says no more."""
    speaker = Speaker()
    await speaker.out.bye()
    assert speaker.broker.beats == []
    await speaker.out.publish([Change(EntityKey("items", "1"))])
    await speaker.out.bye()
    assert [(beat.bye, beat.topics) for _, beat in speaker.broker.beats] == [(True, {"items": (1, 0)})]
    assert CONTROL not in speaker.broker.beats[0][1].topics


async def test_what_is_kept_goes_before_the_bye():
    """A node that stops soon after its broker came back hands over what it had kept, and then says bye."""
    speaker = Speaker()
    speaker.broker.is_away = True
    await speaker.out.publish([Change(EntityKey("items", str(id))) for id in range(1_200)])
    speaker.broker.is_away = False
    leaving = asyncio.ensure_future(speaker.out.bye())
    await speaker.clock.advance(1.0)
    await leaving
    assert speaker.broker.changes == 1_200
    assert [beat.bye for _, beat in speaker.broker.beats] == [True]


async def test_more_is_kept_than_there_is_time_for():
    """A node that stops before all that it had kept is handed over has the others load the entity whole."""
    speaker = Speaker(max_deferred=1_000_000)
    speaker.broker.is_away = True
    await speaker.out.publish([Change(EntityKey("items", str(id))) for id in range(100_000)])
    speaker.broker.is_away = False
    leaving = asyncio.ensure_future(speaker.out.bye())
    await speaker.clock.advance(3.0)
    await leaving
    assert 0 < speaker.broker.changes < 100_000
    assert speaker.broker.orders == [("items",)]
    assert [beat.bye for _, beat in speaker.broker.beats] == [True]


async def test_what_is_never_taken_is_warned_of(caplog: pytest.LogCaptureFixture):
    """A node that stops with changes that no other one knows of says so, and no bye: its silence counts as a
    loss then."""
    speaker = Speaker()
    await speaker.out.publish([Change(EntityKey("items", "1"))])
    speaker.broker.is_away = True
    await speaker.out.publish([Change(EntityKey("items", "2"))])
    caplog.clear()
    leaving = asyncio.ensure_future(speaker.out.bye())
    await speaker.clock.advance(5.0)
    await leaving
    assert "the broker was not told of all that changed here" in caplog.text
    assert speaker.broker.beats == []


async def test_what_is_refused_is_kept_of_every_entity():
    """A broker that refuses everything of one notify gets all of it later, whichever entity it is of."""
    speaker = Speaker()
    speaker.broker.is_away = True
    keys = [EntityKey(entity, id) for entity in ("items", "users", "orders") for id in "12"]
    assert not await speaker.out.publish([Change(key) for key in keys])
    speaker.broker.is_away = False
    await speaker.clock.advance(5.0)
    assert speaker.broker.changes == 6
    assert speaker.out.idle


async def test_what_is_refused_is_kept_of_every_batch():
    """Of more keys than a batch holds all are kept when the first is refused, and each goes out once."""
    speaker = Speaker()
    speaker.broker.is_away = True
    assert not await speaker.out.publish([Change(EntityKey("items", str(id))) for id in range(1_200)])
    speaker.broker.is_away = False
    await speaker.clock.advance(5.0)
    assert speaker.broker.changes == 1_200


async def test_kept_keys_that_are_refused_again():
    """A broker that takes one batch and refuses the next gets the rest soon, whatever it took before."""
    speaker = Speaker()
    speaker.broker.refuses = {1, 3, 5}
    assert not await speaker.out.publish([Change(EntityKey("items", str(id))) for id in range(1_200)])
    await speaker.clock.advance(2.0)
    assert speaker.broker.changes == 1_200
    assert speaker.out.idle


async def test_pauses_between_refusals():
    """What is refused is offered again within a twentieth of a second, then ever more rarely, and at least
    every two seconds."""
    speaker = Speaker()
    speaker.broker.is_away = True
    await speaker.out.publish([Change(EntityKey("items", "1"))])
    await speaker.clock.advance(60.0)
    pauses = [after - before for before, after in pairwise(speaker.broker.tries[1:])]
    assert pauses[0] <= 0.05
    assert 1.0 <= max(pauses) <= 2.0
    assert len(pauses) <= 70


async def test_an_order_that_is_refused():
    """When more keys changed than are kept, and the order to load their entity is refused too, it is given
    later, and the keys of others with it."""
    speaker = Speaker(max_deferred=3)
    speaker.broker.is_away = True
    await speaker.out.publish([Change(EntityKey("users", "1"))])
    await speaker.out.publish([Change(EntityKey("items", id)) for id in "123"])
    await speaker.clock.advance(5.0)
    assert speaker.broker.orders == []
    speaker.broker.is_away = False
    await speaker.clock.advance(2.0)
    assert speaker.broker.orders == [("items",)]
    assert speaker.broker.changes == 1
    assert speaker.out.idle


async def test_an_order_keeps_its_number():
    """An order that is refused is given later under its number, so that no node misses one; what overflowed
    meanwhile is named in it too, and the next order has the next number."""
    speaker = Speaker(max_deferred=1)
    speaker.broker.is_away = True
    await speaker.out.publish([Change(EntityKey("items", id)) for id in "12"])
    await speaker.clock.advance(5.0)
    await speaker.out.publish([Change(EntityKey("users", id)) for id in "12"])
    await speaker.clock.advance(5.0)
    speaker.broker.is_away = False
    await speaker.clock.advance(2.0)
    assert speaker.broker.orders == [("items", "users")]
    assert len(speaker.broker.order_numbers) > 3
    assert set(speaker.broker.order_numbers) == {1}
    speaker.broker.is_away = True
    await speaker.out.publish([Change(EntityKey("items", id)) for id in "12"])
    speaker.broker.is_away = False
    await speaker.clock.advance(2.0)
    assert speaker.broker.order_numbers[-1] == 2


async def test_a_cancelled_notify_keeps_its_numbers():
    """What was on its way when its notify was cancelled goes out under the number that it had: no hole."""
    speaker = Speaker()
    speaker.broker.hangs = asyncio.Event()
    notifying = asyncio.create_task(speaker.out.publish([Change(EntityKey("items", id)) for id in "12"]))
    await speaker.clock.advance(0)
    notifying.cancel()
    await asyncio.gather(notifying, return_exceptions=True)
    speaker.broker.hangs.set()
    await speaker.clock.advance(1.0)
    assert speaker.broker.changes == 2
    assert speaker.broker.numbers == [1, 2, 1, 2]


async def test_a_change_that_cannot_be_written(caplog: pytest.LogCaptureFixture):
    """It is dropped with a line in the log, whether it waited or not; those behind it are published."""
    speaker = Speaker()
    unwritable = Change(EntityKey("items", "1"), causes=(object(),))  # type: ignore[arg-type]
    assert await speaker.out.publish([unwritable])
    speaker.broker.is_away = True
    assert not await speaker.out.publish([Change(EntityKey("items", "2"))])
    assert not await speaker.out.publish([unwritable, Change(EntityKey("items", "3"))])
    speaker.broker.is_away = False
    await speaker.clock.advance(5.0)
    assert speaker.out.idle
    assert speaker.broker.changes == 2
    assert [each.message for each in caplog.records if "cannot be written" in each.message] == [
        "publish: a change of items cannot be written, and is dropped"
    ] * 2
