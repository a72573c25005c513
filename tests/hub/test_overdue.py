"""Whose load has been due for long, and has not ended, is told so: a beat would say that all is current."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from entity_sync import EntitySync, Row, Settings
from entity_sync.testing import FakeClock, MemoryClient, connect

SETTINGS = Settings()
LATEST = SETTINGS.stale_after  # seconds until it is told


class Shop:
    """Loads that wait for the test, of one entity at a time."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.sync = EntitySync(clock=self.clock, settings=Settings(**settings))
        self.may_load = asyncio.Event()
        self.may_load.set()
        self.number = 0
        self.sync.entity("items", timeout=60.0)(self.load)
        self.sync.entity("quick")(self.at_once)
        self.sync.entity("users")(self.at_once)
        self.sync.entity("paced", min_interval=40.0)(self.at_once)
        self.sync.entity("reports")(self.report)

    async def load(self, _id: str) -> int:
        await self.may_load.wait()
        return self.number

    async def at_once(self, _id: str) -> int:
        return self.number

    async def report(self, _id: str) -> Any:
        yield {"n": self.number}
        yield Row("users", "7", {"name": "ann"})

    async def change(self, entity: str, id: str = "1") -> None:
        self.number += 1
        await self.sync.notify(entity, id)


def told(client: MemoryClient) -> list[Any]:
    """What was told of views, with the seconds that `stale` says."""
    messages = [one for one in client.pending() if one["event"] not in ("beat", "ack")]
    return [(one["event"], one["age_ms"] // 1_000) if "age_ms" in one else one["event"] for one in messages]


async def test_a_load_that_hangs(caplog: pytest.LogCaptureFixture):
    """It is told before its time is over, with how old the state may be; once, by one line of the log; and
    its end when the new state is there."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await shop.clock.advance(20)
        client.pending()
        shop.may_load.clear()
        await shop.change("items")
        await shop.clock.advance(5)
        assert told(client) == []
        await shop.clock.advance(LATEST - 5)
        [(event, age)] = told(client)
        assert (event, 14 <= age <= 15) == ("stale", True)
        await shop.clock.advance(30)
        assert told(client) == []
        shop.may_load.set()
        await shop.clock.advance(1)
        assert told(client) == ["snapshot", "fresh"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "1 views wait for a load since 14 s, the first: items/'1'" in caplog.text


async def test_what_the_log_says_of_an_overload(caplog: pytest.LogCaptureFixture):
    """At the first, second, fourth … look in a row that finds some more; from one again after one without."""
    shop = Shop(max_loads=1)

    async def slow(_id: str) -> int:
        await shop.clock.sleep(1.0)
        return 1

    shop.sync.entity("slow")(slow)
    async with shop.sync, connect(shop.sync) as client:
        for _ in range(2):
            said = list[float]()
            began = shop.clock.now()
            for number in range(100):
                await client.subscribe("slow", number)  # two a second, of which one is loaded
                await shop.clock.advance(0.5)
                said += [shop.clock.now() - began] * len(caplog.records)
                caplog.clear()
            first = said[0]
            assert 26 <= first <= 30
            assert said == [first, first + 1, first + 3, first + 7, first + 15]
            keys = [{"entity": "slow", "id": str(number)} for number in range(100)]
            await client.send({"action": "unsubscribe", "body": keys})
            await shop.clock.advance(10)


async def test_who_comes_while_it_hangs():
    """A client without a state is told too, and the next one at once."""
    shop = Shop()
    shop.may_load.clear()
    async with shop.sync, connect(shop.sync) as client, connect(shop.sync) as late:
        await client.subscribe("items", "1")
        await shop.clock.advance(LATEST)
        assert [event for event, _ in told(client)] == ["stale"]
        await late.subscribe("items", "1")
        await shop.clock.advance(0)
        assert [event for event, _ in told(late)] == ["stale"]


async def test_behind_loads_that_take_all_places():
    """What waits in the queue is not current either."""
    shop = Shop(max_loads=1)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("quick", "1")
        await shop.clock.advance(1)
        client.pending()
        shop.may_load.clear()
        async with connect(shop.sync) as other:
            await other.subscribe("items", "1")
            await shop.clock.advance(1)
            await shop.change("quick")
            await shop.clock.advance(LATEST)
            assert [event for event, _ in told(client)] == ["stale"]
            shop.may_load.set()
            await shop.clock.advance(1)
            assert told(client) == ["snapshot", "fresh"]


async def test_paced_behind_many():
    """Those of many views whose turn is late are told, with the age of the change."""
    shop = Shop(resync_rate=1.0)
    ids = [str(number) for number in range(20)]
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("reports", *ids)
        await shop.clock.advance(30)
        client.pending()
        await shop.change("users", "7")
        await shop.clock.advance(LATEST)
        messages = client.pending()
        stale = {one["id"]: one["age_ms"] for one in messages if one["event"] == "stale"}
        shown = {one["id"] for one in messages if one["event"] in ("snapshot", "current")}
        assert shown | stale.keys() | set(ids[16:]) == set(ids)
        assert stale.keys() >= set(ids[16:])
        assert all(14_000 <= age <= 15_000 for age in stale.values())
        await shop.clock.advance(10)
        shown |= {one["id"] for one in client.pending() if one["event"] in ("snapshot", "current")}
        assert shown == set(ids)


async def test_pauses_that_were_asked_for():
    """`min_interval` is what the application wants: nobody is told."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("paced", "1")
        await shop.clock.advance(1)
        client.pending()
        await shop.change("paced")
        await shop.clock.advance(35)
        assert told(client) == []
        await shop.clock.advance(10)
        assert told(client) == ["snapshot"]


async def test_a_key_that_never_rests():
    """A change during each load is no doubt: each load is as new as its beginning."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        for _ in range(60):
            shop.may_load.clear()
            await shop.change("items")
            await shop.clock.advance(0.5)
            await shop.change("items")
            shop.may_load.set()
            await shop.clock.advance(0.5)
        assert set(told(client)) == {"snapshot"}
