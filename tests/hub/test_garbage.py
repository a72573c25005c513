"""What loads cost the garbage collector: a full collection over many views keeps everybody waiting."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from entity_sync import EntitySync, Row, Settings
from entity_sync.testing import MemoryClient, connect, settled

VIEWS = 1_000


class Reports:
    """Reports that all hold the row of one author."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.sync = EntitySync(settings=settings)
        self.age = 0
        self.may_end: asyncio.Future[None] | None = None
        self.begun = 0
        self.all_begun = asyncio.Event()
        self.sync.entity("reports")(self._report)
        self.sync.entity("users")(self._user)

    async def _user(self, _id: str) -> Any:
        return {"age": self.age}

    async def _report(self, id: str) -> AsyncIterator[Any]:
        self.begun += 1
        if self.begun % VIEWS == 0:
            self.all_begun.set()
        if self.may_end is not None:
            await self.may_end
        yield {"report": id, "text": "x" * 300}
        yield Row("users", "1", {"age": self.age})

    async def watched(self, client: MemoryClient) -> None:
        """All are watched, and have a state."""
        await client.subscribe("reports", *range(VIEWS))
        await settled(self.sync)

    async def birthday(self) -> None:
        self.age += 1
        await self.sync.notify("users", "1")


def visited() -> int:
    """How many objects the collector visits, but for frames: they are objects only where a tracer runs."""
    return sum(type(one) is not FrameType for one in gc.get_objects())


@contextmanager
def uncollected() -> Iterator[None]:
    """What was made before is old, and nothing is collected meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def test_a_view_is_few_objects():
    """A full collection visits those of all views and their subscriptions, and nobody is served meanwhile."""
    reports = Reports()
    async with reports.sync, connect(reports.sync) as client:
        gc.collect()
        before = visited()
        await reports.watched(client)
        gc.collect()
        assert (visited() - before) / VIEWS < 7.5


async def test_a_load_under_way_is_few_objects():
    """Python collects after each 700 new ones, and what is under way then counts as old from there on."""
    reports = Reports(Settings(max_loads=VIEWS, max_entity_loads=VIEWS, resync_rate=1e9))
    async with reports.sync, connect(reports.sync) as client:
        await reports.watched(client)
        reports.may_end = asyncio.get_running_loop().create_future()
        reports.all_begun.clear()
        with uncollected():
            before = visited()
            await reports.birthday()
            await reports.all_begun.wait()
            after = visited()
        reports.may_end.set_result(None)
        await settled(reports.sync)
        assert (after - before) / VIEWS < 52


async def test_a_change_leaves_no_new_objects():
    """Python visits everything once a quarter is new: what replaces as much as it adds counts as well."""
    reports = Reports()
    async with reports.sync, connect(reports.sync) as client:
        await reports.watched(client)
        await reports.birthday()
        await settled(reports.sync)
        with uncollected():
            before = visited()
            await reports.birthday()
            await settled(reports.sync)
            young = len(gc.get_objects(generation=0))
            gc.collect(0)
            new = len(gc.get_objects(generation=1))
            after = visited()
        assert reports.begun == 3 * VIEWS
        assert max(new, after - before) / VIEWS < 0.5
        assert young / VIEWS < 1.5  # as many are freed, so Python may look at those of all views at once
