"""What becomes of a load while its result is made into rows, slice by slice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.hub.turns import Turns
from entity_sync.loading.slices import Pause
from entity_sync.testing import MemoryClient, connect, settled
from tests.hub.virtual import in_virtual_time

_ROWS = 3_000
_TURN = 0.1  # seconds until it is one's turn again, in a loop that is this busy


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make turns come late, by a clock that tests can tell."""

    def place(_turns: Turns) -> Pause:
        return lambda: asyncio.sleep(_TURN)

    monkeypatch.setattr(Turns, "place", place)


class Orders:
    """A long list, by each way of giving one; counts what is open."""

    def __init__(self, way: str) -> None:
        self.sync = EntitySync(settings=Settings(load_attempts=1, retry_delay=0.5))
        self.count, self.state, self.loads, self.open = _ROWS, 0, 0, 0
        batch = 10 if way == "batch" else None
        self.lists = self.sync.entity("lists", rows=("orders", "id"), batch=batch, timeout=0.5)(
            getattr(self, f"as_{way}")
        )

        @self.sync.entity("orders")
        async def order(_id: int) -> None:
            """Nobody asks for one."""

    def _rows(self) -> Iterator[dict[str, int]]:
        self.loads += 1
        self.open += 1
        try:
            for id in range(self.count):
                yield {"id": id, "state": self.state}
        finally:
            self.open -= 1

    async def as_list(self, _id: str) -> list[Any]:
        return list(self._rows())

    async def as_generator(self, _id: str) -> Iterator[Any]:
        return self._rows()

    async def as_stream(self, _id: str) -> AsyncIterator[Any]:
        rows = self._rows()
        try:
            for row in rows:
                yield row
        finally:
            rows.close()  # type: ignore[attr-defined]

    async def as_batch(self, ids: list[str]) -> dict[str, Any]:
        return {id: self._rows() for id in ids}


@in_virtual_time
@pytest.mark.parametrize("way", ["list", "generator", "stream", "batch"])
async def test_a_client_that_leaves(way: str):
    """Its load ends, what it has open is closed, and whoever comes next is shown the state."""
    orders = Orders(way)
    async with orders.sync:
        before = asyncio.all_tasks()
        client = MemoryClient.of(orders.sync)
        await client.subscribe("lists", "1")
        await asyncio.sleep(1.5 * _TURN)
        assert orders.open == (way != "list")
        client.leave()
        await asyncio.sleep(2 * _TURN)
        assert orders.open == 0
        assert asyncio.all_tasks() == before
        orders.count = 10
        async with connect(orders.sync) as other:
            await other.subscribe("lists", "1")
            assert len((await other.receive_until("snapshot"))["rows"]) == 10


@in_virtual_time
@pytest.mark.parametrize("way", ["list", "generator", "stream", "batch"])
async def test_a_load_that_takes_too_long(way: str):
    """It fails as any that does, what it has open is closed, and the next try is shown."""
    orders = Orders(way)
    async with orders.sync, connect(orders.sync) as client:
        await client.subscribe("lists", "1")
        assert (await client.receive_until("stale"))["id"] == "1"
        await asyncio.sleep(0)
        assert orders.open == 0
        orders.count = 10
        assert len((await client.receive_until("snapshot"))["rows"]) == 10


@in_virtual_time
@pytest.mark.parametrize("way", ["list", "generator", "stream", "batch"])
async def test_a_node_that_stops(way: str):
    """Nothing of the load is left, and what it has open is closed before the node has ended."""
    orders = Orders(way)
    async with orders.sync, connect(orders.sync) as client:
        await client.subscribe("lists", "1")
        await asyncio.sleep(1.5 * _TURN)
    assert orders.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_virtual_time
@pytest.mark.parametrize("way", ["list", "generator", "stream", "batch"])
async def test_a_change_between_two_slices(way: str):
    """The load began before it, so another one follows; many such changes are one."""
    orders = Orders(way)
    orders.count = 700
    async with orders.sync, connect(orders.sync) as client:
        await client.subscribe("lists", "1")
        await asyncio.sleep(1.5 * _TURN)
        orders.state = 1
        for _ in range(3):
            await orders.lists.notify("1")
        await settled(orders.sync)
        assert orders.loads == 2
        async with connect(orders.sync) as other:
            await other.subscribe("lists", "1")
            rows = (await other.receive_until("snapshot"))["rows"]
        assert {row["data"]["state"] for row in rows} == {1}
        assert len(rows) == 700
