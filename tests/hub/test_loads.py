"""How many loads a change costs, in virtual time so that every duration is exact."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from math import ceil
from typing import Any

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.model import Change
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time

_LOAD = 0.001  # seconds


class Shop:
    """One entity whose loads are counted and take a fixed time."""

    def __init__(self, seconds: float = _LOAD, **settings: Any) -> None:
        self.n = 0
        self.loads: list[str] = []
        self.running = self.most_running = 0
        self.faults: dict[str, Callable[[], Awaitable[None]]] = {}
        self.seconds = seconds
        self.sync = EntitySync(settings=Settings(**settings))
        self.items = self.sync.entity("items")(self.load)
        self.others = self.sync.entity("others")(self.load)

    async def load(self, id: str) -> dict[str, Any]:
        self.loads.append(id)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            n = self.n
            await asyncio.sleep(self.seconds)
            if id in self.faults:
                await self.faults[id]()
            return {"n": n, "id": id}
        finally:
            self.running -= 1


def shown(client: MemoryClient) -> Any:
    return next(m["rows"][0]["data"]["n"] for m in reversed(client.pending()) if m["event"] == "snapshot")


@in_virtual_time
async def test_one_load_per_notify_for_a_thousand_subscribers():
    """1,000 subscribers of one key with a 1 ms loader: one load per notify, the new state everywhere."""
    shop = Shop()
    async with shop.sync:
        clients = [MemoryClient.of(shop.sync) for _ in range(1_000)]
        for client in clients:
            await client.subscribe("items", "1")
        await settled(shop.sync)
        assert shop.loads == ["1"]
        for n in range(1, 11):
            shop.n = n
            await shop.items.notify("1")
            await settled(shop.sync)
            assert len(shop.loads) == 1 + n
            assert {shown(client) for client in clients} == {n}


async def test_a_thousand_viewers_in_three_tenants():
    """Whoever shares an audience shares a load: three tenants, three loads a change, each its own rows."""
    loads: list[str] = []
    n = 0
    sync = EntitySync()

    @sync.entity("reports", per=lambda user: user.partition("@")[2])
    async def reports(id: str, tenant: str) -> dict[str, Any]:
        loads.append(tenant)
        return {"tenant": tenant, "n": n}

    tenants = ["red", "blue", "green"]
    async with sync, AsyncExitStack() as stack:
        clients = []
        for number in range(1_000):
            tenant = tenants[number % 3]
            client = await stack.enter_async_context(connect(sync, secret=f"{number}@{tenant}"))
            clients.append((tenant, client))
        for _, client in clients:
            await client.subscribe("reports", "1")
        await settled(sync)
        for n in (1, 2):
            for _, client in clients:
                client.pending()
            loads.clear()
            await reports.notify("1")
            await settled(sync)
            assert sorted(loads) == ["blue", "green", "red"]
            for tenant, client in clients:
                (message,) = client.pending()
                assert message["rows"] == [{"data": {"tenant": tenant, "n": n}}]


@in_virtual_time
async def test_burst_costs_few_loads():
    """10,000 notifies in a burst of length b cost at most 2 + ⌈b / load time⌉ loads; the last state wins."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        shop.loads.clear()
        loop = asyncio.get_running_loop()
        started = loop.time()
        for n in range(10_000):
            shop.n = n
            await shop.items.notify("1")
            if n % 100 == 99:
                await asyncio.sleep(_LOAD / 4)
        burst = loop.time() - started
        await settled(shop.sync)
        assert burst == pytest.approx(0.025)
        assert len(shop.loads) <= 2 + ceil(burst / _LOAD)
        assert shown(client) == 9_999


@in_virtual_time
async def test_burst_at_once_costs_two():
    """A burst that is over before the load has ended costs two loads."""
    shop = Shop()
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        shop.loads.clear()
        for n in range(100):
            shop.n = n
            shop.sync.node.hub.changed(Change(shop.sync.node.application.catalog.key("items", "1")))
            await asyncio.sleep(0)
        await settled(shop.sync)
        assert len(shop.loads) == 2
        assert shown(client) == 99


@in_virtual_time
async def test_nobody_looks_nothing_loads():
    """A notify of a key that nobody watches loads nothing, nor after the last one left."""
    shop = Shop()
    async with shop.sync:
        await shop.items.notify("1")
        async with connect(shop.sync) as client:
            await client.subscribe("items", "1")
            await settled(shop.sync)
        await shop.items.notify("1")
        await settled(shop.sync)
    assert shop.loads == ["1"]


@in_virtual_time
async def test_hanging_key_disturbs_no_other():
    """A key whose load hangs is told as stale with its names; the others are served all the while."""
    shop = Shop(load_attempts=1)
    shop.faults["bad"] = lambda: asyncio.sleep(3_600)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "bad", "good")
        await asyncio.sleep(1.0)
        [good] = [message for message in client.pending() if message["event"] == "snapshot"]
        assert good["id"] == "good"
        stale = await client.receive_until("stale")
        assert (stale["reason"], stale["entity"], stale["id"]) == ("load", "items", "bad")
        assert stale["age_ms"] == 10_000
        del shop.faults["bad"]
        snapshot = await client.receive_until("snapshot")
        assert snapshot["id"] == "bad"
        assert (await client.receive_until("fresh"))["view"] == snapshot["view"]


@in_virtual_time
async def test_entity_that_hangs_leaves_room():
    """However many keys of one entity hang, another entity's keys are loaded at once."""
    shop = Shop(max_loads=8, max_entity_loads=4)
    shop.faults = {str(n): lambda: asyncio.sleep(3_600) for n in range(50)}
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *map(str, range(50)))
        await client.subscribe("others", "x")
        await asyncio.sleep(0.1)
        assert shop.most_running == 5
        assert [message["id"] for message in client.pending() if message["event"] == "snapshot"] == ["x"]


@in_virtual_time
async def test_process_cap():
    """Never more loads at once than max_loads, and all of them happen in the end."""
    shop = Shop(max_loads=3, max_entity_loads=3)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", *map(str, range(50)))
        await client.subscribe("others", *map(str, range(50)))
        await settled(shop.sync)
        assert shop.most_running == 3
        assert len(shop.loads) == 100


@in_virtual_time
async def test_failing_load_is_retried():
    """A load that fails twice is tried again before anybody is told, and its slot is free meanwhile."""
    shop = Shop(load_attempts=3)
    left = 2

    async def fail() -> None:
        nonlocal left
        if left:
            left -= 1
            raise OSError("on purpose")

    shop.faults["1"] = fail
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        assert [(await client.receive())["event"] for _ in range(2)] == ["ack", "snapshot"]
        assert len(shop.loads) == 3


@in_virtual_time
async def test_failure_and_recovery_are_told_in_order():
    """When all tries fail: stale; when a later one succeeds: the new state, then fresh."""
    shop = Shop(load_attempts=2)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await settled(shop.sync)
        client.pending()

        async def fail() -> None:
            raise OSError("on purpose")

        shop.faults["1"] = fail
        shop.n = 5
        await shop.items.notify("1")
        stale = await client.receive_until("stale")
        del shop.faults["1"]
        snapshot, fresh = await client.receive(), await client.receive()
        assert (snapshot["event"], snapshot["rows"][0]["data"]["n"]) == ("snapshot", 5)
        assert fresh == {"event": "fresh", "view": stale["view"]}


@in_virtual_time
async def test_late_subscriber_is_told_of_the_failure():
    """Whoever subscribes while loads fail is told at once, with the rows if there are any."""
    shop = Shop(load_attempts=1, retry_delay=600.0, max_retry_delay=600.0)
    async with shop.sync, connect(shop.sync) as first, connect(shop.sync) as second:
        await first.subscribe("items", "1")
        await settled(shop.sync)

        async def fail() -> None:
            raise OSError("on purpose")

        shop.faults["1"] = fail
        await shop.items.notify("1")
        await settled(shop.sync)
        await second.subscribe("items", "1")
        assert [(await second.receive())["event"] for _ in range(3)] == ["ack", "snapshot", "stale"]


@in_virtual_time
async def test_late_subscriber_is_told_how_old_the_failure_is():
    """The age in a stale is of the moment it is told, also to a client that comes an hour later."""
    shop = Shop(load_attempts=1, retry_delay=600.0, max_retry_delay=600.0)
    async with shop.sync, connect(shop.sync) as first, connect(shop.sync) as second:

        async def fail() -> None:
            raise OSError("on purpose")

        shop.faults["1"] = fail
        await first.subscribe("items", "1")
        assert (await first.receive_until("stale"))["age_ms"] == _LOAD * 1_000
        await asyncio.sleep(3_600.0)
        await second.subscribe("items", "1")
        assert (await second.receive_until("stale"))["age_ms"] == 3_600_000 + _LOAD * 1_000


@in_virtual_time
async def test_each_kind_of_failure_is_told_and_logged_once(caplog: pytest.LogCaptureFixture):
    """Whoever watches, and the log, hear when a view fails in another way, and not of each try."""
    shop = Shop(load_attempts=1, retry_delay=1.0, max_retry_delay=1.0, max_view_bytes=100)
    ways = ["down", "down", "large", "large", "slow", "down"]

    async def load(id: str) -> str:
        way = ways.pop(0)
        if way == "large":
            return "x" * 200
        raise ValueError(way) if way == "down" else TimeoutError(way)

    notes = shop.sync.entity("notes")(load)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("notes", "1")
        while ways:
            await asyncio.sleep(1.0)
            await notes.notify("1")
            await settled(shop.sync)
        events = [message["event"] for message in client.pending() if message["event"] != "beat"]
        assert events == ["ack", "stale", "error", "stale"]
    logged = [one.getMessage().split(": ", 1)[1] for one in caplog.records if "failed" in one.getMessage()]
    assert logged == ["ValueError: down", "at least 212 bytes of rows, more than 100", "TimeoutError: slow"]


@in_virtual_time
async def test_result_of_a_dropped_view_is_not_shown():
    """A load whose last watcher left is given up; who comes next gets a load of its own."""
    shop = Shop(seconds=1.0)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("items", "1")
        await asyncio.sleep(0.5)
        await client.send({"action": "unsubscribe", "body": {"entity": "items", "id": "1"}})
        shop.n = 7
        await client.subscribe("items", "1")
        await settled(shop.sync)
        assert shown(client) == 7
        assert len(shop.loads) == 2
        assert shop.running == 0


@in_virtual_time
async def test_notified_while_it_grows_too_large():
    """A view that is too large is not tried again, unless its key changed while it was loaded."""
    shop = Shop(seconds=1.0, max_view_bytes=100)
    padding = 200

    async def load(id: str) -> dict[str, str]:
        shop.loads.append(id)
        text = "x" * padding
        await asyncio.sleep(1.0)
        return {"text": text}

    notes = shop.sync.entity("notes")(load)
    async with shop.sync, connect(shop.sync) as client:
        await client.subscribe("notes", "1")
        await asyncio.sleep(0.5)
        padding = 10
        await notes.notify("1")
        await settled(shop.sync)
        events = [message["event"] for message in client.pending()]
        assert shop.loads == ["1", "1"]
        assert events == ["ack", "error", "snapshot", "fresh"]
