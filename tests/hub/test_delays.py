"""Loads that begin later: pauses, retries and refreshes, and whose context variables they see."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.core.view import View
from entity_sync.hub.delays import Delays
from entity_sync.hub.hub import Hub
from entity_sync.model import EVERYONE, EntityKey
from entity_sync.testing import FakeClock, MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time


def told(client: MemoryClient) -> list[str]:
    return [message["event"] for message in client.pending() if message["event"] not in ("ack", "beat")]


@in_virtual_time
async def test_failure_of_a_paced_key_is_told_soon():
    """A failed load is tried again after its own delay, not after the pause between two loads."""
    sync, is_down = EntitySync(), False

    @sync.entity("prices", min_interval=600.0)
    async def prices(_id: str) -> dict[str, Any]:
        if is_down:
            raise OSError("down, for the test")
        return {}

    async with sync, connect(sync) as client:
        await client.subscribe("prices", "1")
        await asyncio.sleep(700.0)
        client.pending()
        is_down = True
        await prices.notify("1")
        await asyncio.sleep(5.0)
        assert told(client) == ["stale"]
        is_down = False
        await asyncio.sleep(30.0)
        assert told(client) == ["fresh"]


@in_virtual_time
async def test_view_that_waits_and_is_left_is_forgotten():
    """A pause that nobody waits for any more holds neither the view nor its rows."""
    sync = EntitySync()

    def alive() -> int:
        gc.collect()
        return sum(isinstance(each, View) and each.key.entity == "left" for each in gc.get_objects())

    @sync.entity("left", min_interval=3_600.0)
    async def left(_id: str) -> dict[str, Any]:
        return {}

    async with sync:
        async with connect(sync) as client:
            await client.subscribe("left", "1", "2")
            await settled(sync)
            await left.notify("1", "2")
            await asyncio.sleep(1.0)
            assert alive() == 2
        assert alive() == 0


@in_virtual_time
async def test_retry_of_several_goes_on_without_those_who_left():
    """What failed together is tried again together, and one whom nobody watches any more is left out."""
    sync, loads = EntitySync(), list[str]()

    @sync.entity("items", batch=2)
    async def items(ids: list[str]) -> dict[str, Any]:
        loads.extend(ids)
        raise OSError("down, for the test")

    async with sync, connect(sync) as client:
        await client.subscribe("items", "1", "2")
        await settled(sync)
        await client.send({"action": "unsubscribe", "body": {"entity": "items", "id": "1"}})
        loads.clear()
        await asyncio.sleep(1.0)
        assert set(loads) == {"2"}


@pytest.mark.parametrize("code", ["bad value", "too large"])
@in_virtual_time
async def test_refresh_goes_on_after_a_failure_that_is_not_tried_again(code: str):
    """Nobody notifies an entity with `refresh_every`: what was bad once is looked at again all the same."""
    sync, value = EntitySync(settings=Settings(max_view_bytes=1_000)), float("nan")

    @sync.entity("prices", refresh_every=10.0)
    async def prices(_id: str) -> dict[str, Any]:
        return {"value": "x" * 2_000 if code == "too large" and value != 1.0 else value}

    async with sync, connect(sync) as client:
        await client.subscribe("prices", "1")
        await settled(sync)
        assert told(client) == ["stale" if code == "bad value" else "error"]
        value = 1.0
        await asyncio.sleep(12.0)
        assert told(client) == ["snapshot", "fresh"]


@in_virtual_time
async def test_a_failure_puts_no_refresh_off():
    """What fails because of a notify is looked at again when it was to be, not a whole interval later."""
    sync, loads = EntitySync(), 0

    @sync.entity("prices", refresh_every=10.0)
    async def prices(_id: str) -> float:
        nonlocal loads
        loads += 1
        return float("nan")

    async with sync, connect(sync) as client:
        await client.subscribe("prices", "1")
        await asyncio.sleep(8.0)
        await prices.notify("1")
        await asyncio.sleep(0.5)
        assert loads == 2
        await asyncio.sleep(3.0)
        assert loads == 3


async def test_load_sees_no_variable_of_who_asked_for_it():
    """A load is for all who watch: whose request notified, or subscribed, is nothing to it."""
    tenant = ContextVar("tenant", default="nobody")
    tenant.set("the server")
    sync, seen = EntitySync(), list[str]()

    @sync.entity("items")
    async def items(_id: str) -> dict[str, Any]:
        seen.append(tenant.get())
        await asyncio.sleep(0)
        return {}

    async def as_tenant(request: Coroutine[Any, Any, Any]) -> None:
        tenant.set("somebody")
        await request

    async with sync, connect(sync) as client:
        await asyncio.create_task(as_tenant(client.subscribe("items", "1", "2")))
        await settled(sync)
        await asyncio.create_task(as_tenant(items.notify("1")))
        await asyncio.create_task(as_tenant(items.notify("1")))  # during the load: another one follows
        await settled(sync)
    assert seen == ["the server"] * 4


@in_virtual_time
async def test_load_sees_no_variable_of_what_logs():
    """A filter that binds something as the failure of one load is logged binds it for no other load."""
    bound = ContextVar("bound", default="nothing")
    sync, seen = EntitySync(settings=Settings(load_attempts=1, retry_delay=0.1)), list[str]()

    @sync.entity("items")
    async def items(id: str) -> None:
        seen.append(bound.get())
        if id == "bad" and len(seen) == 1:
            raise OSError("on purpose")

    def bind(_record: logging.LogRecord) -> bool:
        bound.set("something")
        return True

    log = logging.getLogger("entity_sync.loads")
    log.addFilter(bind)
    try:
        async with sync, connect(sync) as client:
            await client.subscribe("items", "bad")
            await client.receive_until("snapshot")
            await client.subscribe("items", "good")
            await settled(sync)
    finally:
        log.removeFilter(bind)
    assert seen == ["nothing"] * 3


async def test_mistake_of_ours_leaves_no_view_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Whatever goes wrong as a result is taken: it is logged, told, and tried again."""
    clock = FakeClock()
    sync = EntitySync(clock=clock)
    depend, is_broken = Hub._depend, True

    def breaking(self: Hub, *arguments: Any) -> bool:
        if is_broken:
            raise RuntimeError("a mistake, for the test")
        return depend(self, *arguments)

    monkeypatch.setattr(Hub, "_depend", breaking)
    sync.entity("items")(_nothing)
    async with sync, connect(sync) as client:
        await client.subscribe("items", "1")
        await clock.advance(5.0)
        assert "stale" in told(client)
        assert "what a load of items/'1' gave could not be taken" in caplog.text
        is_broken = False
        await clock.advance(60.0)
        assert told(client) == ["snapshot", "fresh"]


async def _nothing(_id: str) -> dict[str, Any]:
    return {}


async def test_end_of_all():
    """Nothing that waited is done after the end."""
    clock, elapsed = FakeClock(), list[View]()
    delays = Delays(clock, elapsed.append)
    views = [View(EntityKey("items", id), EVERYONE, 1) for id in "12"]
    delays.add(views, 1.0)
    delays.close()
    await clock.advance(2.0)
    assert elapsed == []
    assert not any(view in delays for view in views)
