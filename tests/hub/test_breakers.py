"""Entities whose loads keep failing: what that costs their database, and what their clients are told."""

from __future__ import annotations

import asyncio
import json
import logging
from itertools import pairwise
from typing import Any

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.core.loadstate import LoadState
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time


class Shop:
    """Items in a database that may be down, and others in one that is not."""

    def __init__(self, batch: int | None = None, **settings: Any) -> None:
        self.is_down = False
        self.bad: set[str] = set()
        self.n = 0
        self.loads: list[tuple[float, str]] = []
        self.sync = EntitySync(settings=Settings(**{"breaker_failures": 5, **settings}))
        if batch is None:
            self.items = self.sync.entity("items")(self.load)
        else:
            self.items = self.sync.entity("items", batch=batch)(self.load_many)
        self.sync.entity("others")(self.other)

    async def load(self, id: str) -> dict[str, Any]:
        self.loads.append((asyncio.get_running_loop().time(), id))
        await asyncio.sleep(0.01)
        if self.is_down or id in self.bad:
            raise OSError("on purpose")
        return {"n": self.n}

    async def load_many(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        self.loads.append((asyncio.get_running_loop().time(), ",".join(ids)))
        if self.is_down:
            raise OSError("on purpose")
        return {id: {"n": self.n} for id in ids}

    async def other(self, id: str) -> dict[str, Any]:
        return {}

    async def change(self, *ids: str) -> None:
        self.n += 1
        await self.items.notify(*ids)


def told(client: MemoryClient) -> dict[str, list[str]]:
    """Event → the ids it came for, of what is pending."""
    found: dict[str, list[str]] = {}
    views: dict[int, str] = {}
    for message in map(_decoded, client.received):
        views[message.get("view", 0)] = message.get("id", "")
    for message in client.pending():
        id = message.get("id") or views.get(message.get("view", 0), "")
        found.setdefault(message["event"], []).append(id)
    return {event: sorted(ids) for event, ids in found.items() if event not in ("ack", "beat")}


def _decoded(text: str) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(text)
    return message if message["event"] in ("snapshot", "stale") else {}


IDS = [str(n) for n in range(30)]


@in_virtual_time
async def test_database_that_is_down_is_left_alone():
    """30 keys of a database that is down for a minute: once it opened, no more than a load per pause."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        shop.loads.clear()
        shop.is_down = True
        await shop.change(*IDS)
        await asyncio.sleep(60.0)
        assert len(shop.loads) <= len(IDS) + 9  # what ran when it opened, and 1 + 2 + 4 + … ≥ 60 s of pauses
        times = [time for time, _ in shop.loads[len(IDS) :]]
        pauses = [after - before for before, after in pairwise(times)]
        expected = [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        for pause, most in zip(pauses, expected[1:], strict=False):
            assert most / 2 <= pause - 0.01 <= most + 0.01


@in_virtual_time
async def test_all_that_waited_is_loaded_once_it_answers():
    """What waited for the breaker is told stale, and all of it is loaded and fresh when the database is
    back."""
    shop = Shop(max_entity_loads=4)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        client.pending()
        shop.is_down = True
        await shop.change(*IDS)
        await asyncio.sleep(1.0)
        assert told(client) == {"stale": sorted(IDS)}
        shop.is_down = False
        await asyncio.sleep(40.0)
        assert told(client) == {"snapshot": sorted(IDS), "fresh": sorted(IDS)}


@in_virtual_time
async def test_a_change_while_it_is_open_is_told_at_once():
    """A key that changes while the breaker is open is told stale although no load of it begins."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        shop.is_down = True
        await shop.change(*IDS[:5])
        await asyncio.sleep(0.5)
        client.pending()
        count = len(shop.loads)
        await shop.change("9")
        await client.subscribe("items", "new")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told(client) == {"stale": ["9", "new"]}
        assert len(shop.loads) == count


@in_virtual_time
async def test_other_entities_go_on():
    """A breaker is of one entity: others are loaded while it is open."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        shop.is_down = True
        await shop.change(*IDS)
        await asyncio.sleep(0.5)
        client.pending()
        await client.subscribe("others", "x")
        await settled(shop.sync)
        assert told(client) == {"snapshot": ["x"]}


@in_virtual_time
async def test_bad_ids_of_a_client_open_nothing():
    """Keys that never loaded fail as often as they like: the others are loaded as ever."""
    shop = Shop(max_retry_delay=0.2)
    shop.bad = {f"bad {n}" for n in range(30)}
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as attacker:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        await attacker.subscribe("items", *shop.bad)
        await asyncio.sleep(5.0)
        client.pending()
        await shop.change("1")
        await asyncio.sleep(0.2)
        assert told(client) == {"snapshot": ["1"]}


@pytest.mark.parametrize("seconds", [0.0, 20.0, 21.0, 22.0, 23.0])
@in_virtual_time
async def test_bad_ids_of_a_client_keep_nothing_open(seconds: float):
    """However many keys that never loaded wait too, one that had been loaded is tried within two pauses."""
    shop = Shop(max_breaker_pause=2.0)
    shop.bad = {f"bad {n}" for n in range(30)}
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as attacker:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        shop.is_down = True
        await shop.change(*IDS[:5])
        await asyncio.sleep(0.5)
        await attacker.subscribe("items", *shop.bad)
        await asyncio.sleep(seconds)
        shop.is_down = False
        client.pending()
        await asyncio.sleep(4.1)
        assert told(client) == {"snapshot": IDS[:5], "fresh": IDS[:5]}


@pytest.mark.parametrize("seconds", [20.0, 21.0, 22.0, 23.0])
@in_virtual_time
async def test_rows_that_went_bad_keep_nobody_out(seconds: float):
    """Where only some keys' rows went bad and opened it, a key that comes new is loaded within two pauses."""
    shop = Shop(max_breaker_pause=2.0)
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as other:
        await client.subscribe("items", *IDS[:8])
        await settled(shop.sync)
        shop.bad = set(IDS[:8])
        await shop.change(*IDS[:8])
        await asyncio.sleep(seconds)
        await other.subscribe("items", "new")
        await asyncio.sleep(4.1)
        assert "new" in told(other)["snapshot"]


@in_virtual_time
async def test_nobody_left_closes_it():
    """Once all whose loads failed are gone, a new key does not have to wait for a pause."""
    shop = Shop(breaker_pause=2.0)
    async with shop.sync, connect(shop.sync) as other:
        async with connect(shop.sync) as client:
            await client.subscribe("items", *IDS)
            await settled(shop.sync)
            shop.is_down = True
            await shop.change(*IDS)
            await asyncio.sleep(0.5)
        await asyncio.sleep(2.0)
        shop.is_down = False
        await other.subscribe("items", "new")
        await settled(shop.sync)
        assert told(other) == {"snapshot": ["new"]}


@in_virtual_time
async def test_probe_that_nobody_watches_any_more():
    """A probe whose watcher leaves while it runs is followed by another, not by waiting for ever."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        shop.is_down = True
        await shop.change(*IDS)
        await asyncio.sleep(0.2)
        count = len(shop.loads)
        while len(shop.loads) == count:
            await asyncio.sleep(0.001)
        shop.is_down = False
        await client.send({"action": "unsubscribe", "body": {"entity": "items", "id": shop.loads[-1][1]}})
        client.pending()
        await asyncio.sleep(0.1)
        assert len(told(client)["fresh"]) == len(IDS) - 1


@in_virtual_time
async def test_a_batch_counts_once():
    """A call of a batch loader that fails counts once, however many keys it was for."""
    shop = Shop(batch=30, breaker_failures=3, load_attempts=1)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        shop.is_down = True
        await shop.change(*IDS)
        await settled(shop.sync)
        assert not shop.sync.node.hub.loads._breakers.holds("items")
        for _ in range(2):
            await asyncio.sleep(0.2)
            await settled(shop.sync)
        assert shop.sync.node.hub.loads._breakers.holds("items")
        shop.is_down = False
        shop.loads.clear()
        await asyncio.sleep(1.0)
        assert [len(ids.split(",")) for _, ids in shop.loads] == [30]


@in_virtual_time
async def test_result_that_cannot_be_sent_is_an_answer():
    """A loader that returns what is too large has answered: its database is not down."""
    sync = EntitySync(settings=Settings(breaker_failures=2, max_view_bytes=100))
    size = 1

    @sync.entity("items")
    async def item(id: str) -> str:
        return "x" * size

    async with sync, connect(sync) as client:
        await client.subscribe("items", *IDS)
        await settled(sync)
        size = 1_000
        await item.notify(*IDS)
        await settled(sync)
        client.pending()
        size = 2
        await item.notify("1")
        await settled(sync)
        assert told(client)["snapshot"] == ["1"]


@in_virtual_time
async def test_a_gap_ends_although_a_database_is_down():
    """After a gap the connection is fresh once every view is loaded or told stale, a breaker or not."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS)
        await settled(shop.sync)
        shop.is_down = True
        await shop.change(*IDS)
        await asyncio.sleep(0.5)
        hub = shop.sync.node.hub
        hub.resync()
        await asyncio.sleep(0.3)
        assert hub._resync.idle
        shop.is_down = False
        client.pending()
        await asyncio.sleep(5.0)
        assert told(client) == {"snapshot": sorted(IDS), "fresh": sorted(IDS)}


@in_virtual_time
async def test_a_gap_ends_although_it_found_a_probe_under_way():
    """A view whose probe runs as the gap comes, and fails, is told stale already: nothing waits for it."""
    shop = Shop(load_attempts=10)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *IDS[:10])
        await settled(shop.sync)
        shop.is_down = True
        await shop.change(*IDS[:10])
        hub = shop.sync.node.hub
        while not any(view.state is LoadState.LOADING and view.failure for view in hub.views):
            await asyncio.sleep(0.001)
        hub.resync()
        await asyncio.sleep(0.3)
        assert hub._resync.idle


def test_two_lines_of_log(caplog: pytest.LogCaptureFixture):
    """One line when it opens, one when it closes, however many pauses are between."""

    @in_virtual_time
    async def live() -> None:
        shop = Shop(max_breaker_pause=1.0)
        async with shop.sync, connect(shop.sync) as client:
            await client.subscribe("items", *IDS)
            await settled(shop.sync)
            shop.is_down = True
            await shop.change(*IDS)
            await asyncio.sleep(20.0)
            shop.is_down = False
            await asyncio.sleep(20.0)

    with caplog.at_level(logging.INFO, "entity_sync.loads"):
        live()
    lines = [record for record in caplog.records if record.message.startswith("loads of items")]
    assert [line.levelname for line in lines] == ["WARNING", "INFO"]
    assert "5 times" in lines[0].message
