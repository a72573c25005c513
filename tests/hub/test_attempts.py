"""What a load function may do with its task, and what is left of it when nobody waits any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time


class Database:
    """Sessions that hang while the database is away, and whose rollback may hang as well."""

    def __init__(self) -> None:
        self.is_away = False
        self.open = 0

    async def answer(self) -> None:
        if self.is_away:
            await asyncio.Event().wait()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        self.open += 1
        try:
            yield
        finally:
            try:
                await self.answer()
            finally:
                self.open -= 1


@in_virtual_time
@pytest.mark.parametrize("batch", [None, 10])
@pytest.mark.parametrize("is_caught", [False, True])
async def test_a_task_group_that_fails(batch: int | None, is_caught: bool):
    """Queries side by side, of which one raises: a failure as any other, or none where it is caught."""
    sync = EntitySync(settings=Settings(load_attempts=1))
    is_broken, state = False, "first"

    async def query() -> str:
        await asyncio.sleep(0)
        if is_broken:
            raise OSError("on purpose")
        return state

    async def order(_id: str) -> str:
        found = "not found"
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(query()) for _ in range(2)]
            found = tasks[0].result()
        except* OSError:
            if not is_caught:
                raise
        return found

    async def orders(ids: list[str]) -> dict[str, str]:
        return {id: await order(id) for id in ids}

    loader: Any = order if batch is None else orders
    sync.entity("orders", batch=batch)(loader)
    async with sync, connect(sync) as client:
        await client.subscribe("orders", "1")
        await client.receive_until("snapshot")
        is_broken = True
        await sync.notify("orders", "1")
        if is_caught:
            assert (await client.receive_until("snapshot"))["rows"] == [{"data": "not found"}]
        else:
            await client.receive_until("stale")
        is_broken, state = False, "second"
        await sync.notify("orders", "1")
        assert (await client.receive_until("snapshot"))["rows"] == [{"data": "second"}]


@in_virtual_time
async def test_a_clean_up_that_hangs(caplog: pytest.LogCaptureFixture):
    """Its attempt fails when its time is over, it is told to end again later, and others load meanwhile."""
    sync, database = EntitySync(settings=Settings(load_attempts=1, max_entity_loads=2)), Database()

    @sync.entity("orders", timeout=1.0)
    async def order(id: str) -> str:
        async with database.session():
            if id != "good":
                await database.answer()
            return id

    async with sync, connect(sync) as client:
        database.is_away = True
        await client.subscribe("orders", "bad")
        assert (await client.receive_until("stale"))["id"] == "bad"
        assert caplog.messages == ["load of orders/'bad' failed: no result within 1 s"]
        assert database.open == 1
        database.is_away = False
        await client.subscribe("orders", "good")
        assert (await client.receive_until("snapshot"))["id"] == "good"
        await asyncio.sleep(1.0)
        assert database.open == 0


@in_virtual_time
async def test_an_entity_begins_no_more_than_it_may_leave_behind(caplog: pytest.LogCaptureFixture):
    """Loads that take no end hold its places: others of it fail for that reason, those of no other entity."""
    sync = EntitySync(settings=Settings(load_attempts=1, max_entity_loads=2, drain_timeout=3.0))
    may_end, running, most = asyncio.Event(), 0, 0

    @sync.entity("orders", timeout=1.0)
    async def order(_id: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue
        running -= 1
        return "found"

    @sync.entity("others")
    async def other(_id: str) -> str:
        return "other"

    async with sync, connect(sync) as client:
        await client.subscribe("orders", *map(str, range(6)))
        await asyncio.sleep(60.0)
        assert (running, most) == (2, 2)
        assert "2 loads of orders never ended, and hold every place that it may have" in caplog.text
        await client.subscribe("others", "1")
        while (await client.receive_until("snapshot"))["entity"] != "others":
            pass
        may_end.set()
        await asyncio.sleep(60.0)
        assert running == 0
        shown = [message["id"] for message in client.pending() if message["event"] == "snapshot"]
        assert sorted(shown) == ["0", "1", "2", "3", "4", "5"]


@in_virtual_time
async def test_who_waits_behind_loads_that_never_end_is_told():
    """After the time that one load may take, and at once where that is known; then their turn comes."""
    sync = EntitySync(settings=Settings(max_entity_loads=2, drain_timeout=1.0))
    may_end, hangs = asyncio.Event(), False

    @sync.entity("orders", timeout=1.0)
    async def order(id: str) -> str:
        while hangs and id in ("1", "2") and not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()
        return "found"

    def told() -> list[tuple[str, str]]:
        return [(one["event"], one["id"]) for one in client.pending() if one["event"] == "stale"]

    async with sync, connect(sync) as client:
        await client.subscribe("orders", *"1234")
        await settled(sync)
        hangs = True
        for id in "12":
            await order.notify(id)
        await asyncio.sleep(1.5)
        client.pending()
        await order.notify("3")
        await asyncio.sleep(0.3)
        assert told() == []
        assert not sync.node.idle
        await asyncio.sleep(1.0)
        assert ("stale", "3") in told()
        assert sync.node.idle
        await order.notify("4")
        await asyncio.sleep(0.1)
        assert told() == [("stale", "4")]
        assert not sync.node.hub.loads._breakers.holds("orders")
        may_end.set()
        await asyncio.sleep(1.0)
        fresh = [one for one in client.pending() if one["event"] == "fresh"]
        assert len(fresh) == 4
        hangs = False
        await order.notify("3")
        await asyncio.sleep(0.1)
        assert told() == []


@in_virtual_time
async def test_entities_that_hang_take_nothing_from_others():
    """Loads that wait for a place of their entity hold none of the places that all entities have together."""
    sync = EntitySync(settings=Settings(max_loads=8, max_entity_loads=4, drain_timeout=1.0))
    loop, may_end, loads = asyncio.get_running_loop(), asyncio.Event(), list[float]()

    async def hanging(_id: str) -> None:
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    for name in ("one", "two"):
        sync.entity(name, timeout=10.0)(hanging)

    @sync.entity("orders")
    async def order(_id: str) -> str:
        loads.append(loop.time())
        return "found"

    async with sync, connect(sync) as client:
        body = [{"entity": name, "id": str(id)} for name in ("one", "two") for id in range(20)]
        await client.send({"action": "subscribe", "body": body})
        await client.subscribe("orders", "1")
        await asyncio.sleep(10.1)
        for _ in range(20):
            began = loop.time()
            await order.notify("1")
            await asyncio.sleep(1.0)
            assert 0 <= loads[-1] - began < 0.1
        may_end.set()


@in_virtual_time
async def test_loads_that_are_not_wanted_any_more_hold_no_place(caplog: pytest.LogCaptureFixture):
    """Who leaves while loads run ends them: they take a turn to do so, of which nobody is told."""
    sync = EntitySync(settings=Settings(max_entity_loads=2))
    may_end = asyncio.Event()

    @sync.entity("orders", timeout=1.0)
    async def order(id: str) -> str:
        if id != "good":
            await may_end.wait()
        return id

    async with sync, connect(sync) as client:
        leaving = MemoryClient.of(sync)
        await leaving.subscribe("orders", "1", "2")
        await asyncio.sleep(0.5)
        await client.subscribe("orders", "good")
        leaving.leave()
        assert (await client.receive_until("snapshot"))["id"] == "good"
        await asyncio.sleep(5.0)
        assert {message["event"] for message in client.pending()} == {"beat"}
    assert not caplog.messages


@in_virtual_time
@pytest.mark.parametrize("batch", [None, 10])
async def test_a_load_that_cancels_itself(batch: int | None, caplog: pytest.LogCaptureFixture):
    """Its task looks cancelled although it has a result: a failure as any other."""
    sync, loads = EntitySync(settings=Settings(load_attempts=1)), 0

    async def order(_id: str) -> str:
        nonlocal loads
        loads += 1
        if loads == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return "found"

    async def orders(ids: list[str]) -> dict[str, str]:
        return {id: await order(id) for id in ids}

    loader: Any = order if batch is None else orders
    sync.entity("orders", batch=batch)(loader)
    async with sync, connect(sync) as client:
        await client.subscribe("orders", "1")
        assert (await client.receive_until("stale"))["id"] == "1"
        assert (await client.receive_until("snapshot"))["rows"] == [{"data": "found"}]
    assert caplog.messages == ["load of orders/'1' failed: the load function cancelled its own task"]


@in_virtual_time
@pytest.mark.parametrize("does_leave", [False, True])
async def test_loads_end_before_what_they_use_is_closed(does_leave: bool):
    """A session that is given back after its load was cancelled finds its pool open, whoever left before."""
    events: list[str] = []

    @asynccontextmanager
    async def pool(_app: object) -> AsyncIterator[None]:
        yield
        events.append("pool closed")

    sync = EntitySync(lifespan=pool)

    @sync.entity("orders")
    async def order(_id: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)
            events.append("session given back")

    async with sync:
        client = MemoryClient.of(sync)
        await client.subscribe("orders", "1")
        await asyncio.sleep(0.1)
        if does_leave:
            client.leave()
    assert events == ["session given back", "pool closed"]


@in_virtual_time
async def test_a_load_that_takes_no_end_does_not_keep_its_node(caplog: pytest.LogCaptureFixture):
    """It is waited for as long as an orderly stop may take, and named."""
    sync = EntitySync(settings=Settings(drain_timeout=3.0))
    may_end, cancelled = asyncio.Event(), 0

    @sync.entity("orders")
    async def order(_id: str) -> None:
        nonlocal cancelled
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                cancelled += 1

    began = asyncio.get_running_loop().time()
    async with sync, connect(sync) as client:
        await client.subscribe("orders", "1")
        await asyncio.sleep(0.1)
    assert asyncio.get_running_loop().time() - began < 4.0
    told = cancelled
    await asyncio.sleep(600.0)
    assert cancelled == told  # it belongs to nobody: the timer that tells it to end is gone
    assert "1 loads of orders did not end within 3 s" in caplog.text
    may_end.set()
    await asyncio.sleep(0)


@in_virtual_time
async def test_a_mistake_in_what_is_told_of_a_result(caplog: pytest.LogCaptureFixture):
    """A change that came during such a load is not forgotten: the view is loaded again."""
    n = 0
    sync = EntitySync()

    @sync.entity("orders")
    async def order(_id: str) -> int:
        found = n
        await asyncio.sleep(0.1)
        return found

    def fail(_view: object) -> None:
        sync.node.hub.observe = None
        raise ValueError("on purpose")

    async with sync, connect(sync) as client:
        await client.subscribe("orders", "1")
        await settled(sync)
        with caplog.at_level(logging.CRITICAL, "entity_sync"):
            sync.node.hub.observe = fail
            await order.notify("1")
            await asyncio.sleep(0.05)
            n = 1
            await order.notify("1")
            await asyncio.sleep(1.0)
        assert client.pending()[-1]["rows"] == [{"data": 1}]


@in_virtual_time
async def test_a_mistake_in_what_is_told_of_a_failure(caplog: pytest.LogCaptureFixture):
    """The view is tried again all the same, as after any failure."""
    sync, loads = EntitySync(settings=Settings(load_attempts=1)), 0

    @sync.entity("orders")
    async def order(_id: str) -> int:
        nonlocal loads
        loads += 1
        if loads == 1:
            raise OSError("on purpose")
        return loads

    def fail(_view: object) -> None:
        sync.node.hub.observe = None
        raise ValueError("on purpose")

    async with sync, connect(sync) as client:
        with caplog.at_level(logging.CRITICAL, "entity_sync"):
            sync.node.hub.observe = fail
            await client.subscribe("orders", "1")
            await asyncio.sleep(5.0)
        shown = [message for message in client.pending() if message["event"] == "snapshot"]
        assert shown[-1]["rows"] == [{"data": 2}]


@in_virtual_time
@pytest.mark.parametrize("does_change", [False, True])
async def test_a_mistake_after_a_result_was_told(does_change: bool, caplog: pytest.LogCaptureFixture):
    """Nothing is loaded twice, and a view that waits for its next load already keeps its place."""
    sync = EntitySync(settings=Settings(max_entity_loads=1))
    loads = 0

    @sync.entity("orders")
    async def order(_id: str) -> int:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.1)
        return loads

    async with sync, connect(sync) as client:
        await client.subscribe("orders", "1")
        await settled(sync)
        refreshes = sync.node.hub.loads._refreshes
        succeeded = refreshes.succeeded

        def fail(_view: object) -> None:
            refreshes.succeeded = succeeded  # type: ignore[method-assign]
            raise ValueError("on purpose")

        refreshes.succeeded = fail  # type: ignore[method-assign, assignment]
        await order.notify("1")
        await asyncio.sleep(0.05)
        if does_change:
            await order.notify("1")
        await asyncio.sleep(20.0)
        assert loads == 2 + does_change
        assert client.pending()[-1]["event"] == "beat"
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
