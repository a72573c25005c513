"""A ceiling for the bytes of all views: what is not kept is loaded again, and nobody ends with less."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from entity_sync import ConfigurationError, EntitySync, Reads, Row, Settings
from entity_sync.client.incoming import decode
from entity_sync.client.replica import Replica
from entity_sync.model import EntityKey
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time
from tests.simulation.loop import run

TEXT = "x" * 1_000


class Shop:
    """Items of about a kilobyte, and room for one or two of them."""

    def __init__(self, ceiling: int = 8_000, seconds: float = 0.01) -> None:
        self.texts: dict[str, str] = {}
        self.loads: list[str] = []
        self.seconds = seconds
        self.sync = EntitySync(settings=Settings(max_view_bytes=ceiling, view_memory=ceiling))
        self.items = self.sync.entity("items")(self.load)

    async def load(self, id: str) -> dict[str, Any]:
        self.loads.append(id)
        text = self.texts.get(id, TEXT)
        await asyncio.sleep(self.seconds)
        return {"id": id, "text": text}

    async def change(self, id: str, text: str) -> None:
        self.texts[id] = text
        await self.items.notify(id)

    @property
    def total(self) -> int:
        return self.sync.node.hub.memory.total


def told(client: MemoryClient) -> list[tuple[str, str | None]]:
    events = [(message["event"], message.get("id")) for message in client.pending()]
    return [event for event in events if event[0] not in ("ack", "beat")]


IDS = [str(n) for n in range(20)]


@in_virtual_time
async def test_everybody_is_served_although_few_are_kept():
    """Twenty views with room for two: each client gets its rows, and no more than the ceiling is held."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        assert sorted(told(client)) == sorted(("snapshot", id) for id in IDS)
        assert shop.total <= 8_000


@in_virtual_time
async def test_up_to_date_clients_cost_no_load():
    """A client that comes back with the version of a view that is not kept is answered without a load."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as second:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        versions = {m["id"]: m["version"] for m in client.pending() if m["event"] == "snapshot"}
        shop.loads.clear()
        for id, version in versions.items():
            await second.subscribe("items", id, version=version)
        await settled(shop.sync)
        assert sorted(told(second)) == sorted(("current", id) for id in IDS)
        assert shop.loads == []


@in_virtual_time
async def test_late_subscriber_and_resync_cost_a_load_each():
    """Who holds no version of a view that is not kept, or asks for the rows again, gets them by a load."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as second:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        client.pending()
        one, two = [view for view in shop.sync.node.hub.views if view.loaded is None][:2]
        shop.loads.clear()
        await second.subscribe("items", one.key.id)
        await settled(shop.sync)
        assert told(second) == [("snapshot", one.key.id)]
        await client.send({"action": "resync", "body": {"view": two.number, "rev": 0}})
        await settled(shop.sync)
        assert told(client) == [("snapshot", two.key.id)]
        assert shop.loads == [one.key.id, two.key.id]


@in_virtual_time
async def test_the_view_in_demand_stays():
    """A view that is asked for again and again is not the one that gives up its rows."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "0")
        await settled(shop.sync)
        for id in IDS[1:]:
            async with connect(shop.sync) as second:
                await second.subscribe("items", "0")
                await settled(shop.sync)
                assert told(second) == [("snapshot", "0")]
            await client.subscribe("items", id)
            await settled(shop.sync)
        assert shop.loads.count("0") == 1


@in_virtual_time
async def test_slow_clients_cause_no_loads_until_they_read():
    """Clients that do not read cost nothing while they do not, and get the newest rows when they do."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        client.pending()
        client.stall()
        shop.loads.clear()
        for id in IDS:
            await shop.change(id, TEXT + id)
        await settled(shop.sync)
        await asyncio.sleep(30.0)
        assert len(shop.loads) == len(IDS)
        client.resume()
        await settled(shop.sync)
        assert sorted(told(client)) == sorted(("snapshot", id) for id in IDS)


@in_virtual_time
async def test_what_finds_no_room_is_busy_until_it_does():
    """A result that exceeds the ceiling by what surrounds its rows is busy; once it shrank it is fresh."""
    shop = Shop(ceiling=2_000)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        client.pending()
        await shop.change("1", "x" * 1_900)
        await asyncio.sleep(1.0)
        [busy] = [m for m in client.pending() if m["event"] != "beat"]
        assert (busy["event"], busy["code"], busy["id"]) == ("error", "busy", "1")
        assert busy["retryable"]
        shop.texts["1"] = "short"
        await asyncio.sleep(11.0)
        assert [event for event, _ in told(client)] == ["snapshot", "fresh"]


@in_virtual_time
async def test_what_others_depend_on_takes_room():
    """What reduced views depend on is kept, so it may leave a view no room until those views are gone."""
    sync = EntitySync(settings=Settings(max_view_bytes=4_000, view_memory=4_000))

    @sync.entity("lists")
    async def lists(id: str) -> list[Any]:
        rows = [Row("items", f"{id}-{n}", n) for n in range(8)]
        return [Reads("items", kind=id), *rows]

    async with sync, connect(sync) as first, connect(sync) as second:
        await first.subscribe("lists", "a")
        await settled(sync)
        await second.subscribe("lists", "b")
        await asyncio.sleep(1.0)
        assert told(second) == [("error", "b")]
        await first.send({"action": "unsubscribe", "body": {"entity": "lists", "id": "a"}})
        await asyncio.sleep(11.0)
        assert [event for event, _ in told(second)] == ["snapshot", "fresh"]


@in_virtual_time
async def test_what_cannot_be_shown_is_bounded_as_well():
    """What views that are too large depend on is kept as far as there is room; the others of them are busy,
    and what can be shown finds room."""
    sync = EntitySync(settings=Settings(max_view_bytes=2_000, view_memory=16_000))
    length = 100

    @sync.entity("items")
    async def item(id: str) -> str:
        return id

    @sync.entity("lists", rows=("items", "id"))
    async def lists(id: str) -> list[Any]:
        return [{"id": f"{id}-{n}"} for n in range(length)]

    async with sync, connect(sync) as client, connect(sync) as other:
        await client.subscribe("lists", *IDS)
        await asyncio.sleep(1.0)
        codes = {m["id"]: m["code"] for m in client.pending() if m["event"] == "error"}
        assert set(codes) == set(IDS)
        assert set(codes.values()) == {"too_large", "busy"}
        assert sync.node.hub.memory.total <= 16_000
        await other.subscribe("items", "1")
        await asyncio.sleep(1.0)
        assert told(other) == [("snapshot", "1")]
        length = 1
        for id, code in codes.items():
            if code == "too_large":
                await sync.notify("items", f"{id}-0")  # which it depends on
        await asyncio.sleep(60.0)
        assert {id for event, id in told(client) if event == "snapshot"} == set(IDS)


@in_virtual_time
async def test_views_that_nobody_watches_hold_nothing():
    """When the last client has left, no bytes are accounted for."""
    shop = Shop(ceiling=100_000)
    async with shop.sync:
        async with connect(shop.sync) as client:
            await client.subscribe("items", *IDS)
            await settled(shop.sync)
            assert shop.total > 20_000
        assert shop.total == 0


def test_room_for_the_largest_view():
    """A ceiling below one view's own limit is a mistake, said when it is set."""
    with pytest.raises(ConfigurationError, match="view_memory"):
        Settings(view_memory=1_000)


# Whatever happens

KEYS = [EntityKey("items", id) for id in "abcd"]
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(0, 3), st.integers(0, 2_500)),
        st.tuples(st.just("watch"), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("leave"), st.integers(0, 2), st.integers(0, 3)),
        st.tuples(st.just("stall"), st.integers(0, 2), st.booleans()),
        st.tuples(st.just("resync"), st.just(0), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from((0, 1, 20)), st.just(0)),
    ),
    max_size=40,
)


class Viewer:
    """A replica behind a connection in memory."""

    def __init__(self, sync: EntitySync) -> None:
        self.replica = Replica()
        self.replica.opened()
        self.replica.silent(False)
        self.watched: set[EntityKey] = set()
        self.stalled = False
        self._client = MemoryClient.of(sync)

    async def exchange(self) -> None:
        for message in self._client.pending():
            for incoming in decode(msgspec.json.encode(message).decode()):
                self.replica.receive(incoming)
        for frame in self.replica.take(60_000):
            await self._client.send(frame.decode())

    def stall(self, is_stalled: bool) -> None:
        if is_stalled != self.stalled:
            self.stalled = is_stalled
            (self._client.stall if is_stalled else self._client.resume)()

    def watch(self, key: EntityKey, is_wanted: bool) -> None:
        if is_wanted != (key in self.watched):
            (self.watched.add if is_wanted else self.watched.discard)(key)
            (self.replica.watch if is_wanted else self.replica.forget)(key)


class Course:
    """A shop with three viewers, whose memory is looked at all the time."""

    def __init__(self) -> None:
        self.shop = Shop(ceiling=3_000, seconds=0.002)
        self.viewers: list[Viewer] = []
        self.largest = 0

    async def take(self, deeds: list[tuple[str, int, int]]) -> None:
        async with self.shop.sync:
            self.viewers = [Viewer(self.shop.sync) for _ in range(3)]
            for deed, one, two in deeds:
                await self._do(deed, one, two)
            for viewer in self.viewers:
                viewer.stall(False)
            for key in KEYS:  # what found no room finds it in the end
                if len(self.shop.texts.get(key.id, "")) > 2_000:
                    await self.shop.change(key.id, "short")
            for _ in range(300):
                await self._pass(0.1)
            self._judge()

    async def _do(self, deed: str, one: int, two: int) -> None:
        if deed == "commit":
            await self.shop.change(KEYS[one].id, "x" * two)
        elif deed == "watch":
            self.viewers[one].watch(KEYS[two], True)
        elif deed == "leave":
            self.viewers[one].watch(KEYS[two], False)
        elif deed == "stall":
            self.viewers[one].stall(bool(two))
        elif deed == "resync":
            self.shop.sync.node.hub.resync()
        await self._pass(0.001 * one if deed == "wait" else 0)

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for viewer in self.viewers:
            await viewer.exchange()
        hub = self.shop.sync.node.hub
        held = [view.held for view in hub.views]
        assert hub.memory.total == sum(held)
        assert hub.memory.total <= 3_000 + max(held, default=0)

    def _judge(self) -> None:
        for viewer in self.viewers:
            for key in viewer.watched:
                state = viewer.replica.state(key)
                expected = {"id": key.id, "text": self.shop.texts.get(key.id, TEXT)}
                assert [row.data for row in state.rows] == [expected]
                assert state.stale_reason is None


@examples(deadline=None, max_examples=60)
@given(DEEDS)
def test_every_client_ends_with_the_rows(deeds: list[tuple[str, int, int]]):
    """Whatever is committed, watched, left, stalled and lost, in whatever order: every client ends with the
    server's rows, and the bytes held exceed the ceiling by one view at most."""
    course: Callable[[list[tuple[str, int, int]]], Any] = Course().take
    _, failures = run(course(deeds))
    assert failures == []
