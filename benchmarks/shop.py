"""The servers that are measured: Entity Sync behind both of its doors."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from time import perf_counter_ns
from typing import Any

from benchmarks.host import Duties, obey, pin, resident
from benchmarks.plan import ShopPlan
from benchmarks.row import FIRST, row
from entity_sync import EntitySync, Settings
from entity_sync.server.standalone import listen

__all__ = ["Shop", "loop_factory", "serve_shop", "uvicorn_serving"]


class Shop(Duties):
    """An application whose rows carry their number and the time of their notify."""

    def __init__(self, plan: ShopPlan) -> None:
        self.loads = 0
        self._plan = plan
        self._rows: dict[str, tuple[int, int]] = {}
        # Nothing of a beat or a ping may fall between the figures.
        settings = Settings(
            max_connections=20_000,
            beat_interval=3_600.0,
            stale_after=7_200.0,
            ping_interval=3_600.0,
            classic_ping_interval=3_600.0,
            classic_pong_deadline=7_200.0,
            drain_timeout=0.1,
        )
        # A name of its own: several of these processes run beside one another.
        self.sync = EntitySync(f"memory://{os.getpid()}", settings=settings)
        self.items = self.sync.entity("items")(self.load)

    async def load(self, id: str) -> dict[str, object]:
        """The loader: what is read before the wait, so that a load can be overtaken."""
        self.loads += 1
        n, at = self._rows.get(id, (FIRST, perf_counter_ns()))
        if self._plan.load_seconds:
            await asyncio.sleep(self._plan.load_seconds)
        return row(id, n, at, self._plan.row_bytes)

    def _change(self, id: str) -> int:
        n = self._rows.get(id, (FIRST, 0))[0] + 1
        self._rows[id] = n, perf_counter_ns()
        return n

    # What the parent orders

    async def change(self, id: str) -> int:
        """One change; returns its number."""
        n = self._change(id)
        await self.items.notify(id)
        return n

    async def counted(self) -> int:
        """Loads since the last question."""
        loads, self.loads = self.loads, 0
        return loads

    async def burst(self, id: str, count: int, is_yielding: bool) -> tuple[int, float]:
        """Changes without a pause, or with everybody else's turn of the loop after each hundred.

        Returns:
            the number of the last, and how many seconds they took.
        """
        started = time.perf_counter()
        for index in range(count):
            self._change(id)
            await self.items.notify(id)
            if is_yielding and index % 100 == 99:
                await asyncio.sleep(0)
        return self._rows[id][0], time.perf_counter() - started

    async def unwatched(self, count: int) -> float:
        """CPU seconds of one notify that nobody watches."""
        started = time.process_time()
        for n in range(count):
            await self.items.notify(f"nobody-{n % 100}")
        return (time.process_time() - started) / count

    async def tick(self, ids: list[str], rate: float, count: int) -> tuple[dict[str, int], int, int]:
        """Changes at a fixed rate, each of the next item in turn.

        Returns:
            the last number of each item, and the resident bytes before and at their highest.
        """
        last = {}
        before = highest = resident()
        due = time.perf_counter()
        for index in range(count):
            id = ids[index % len(ids)]
            last[id] = await self.change(id)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            highest = max(highest, resident())
        return last, before, highest


def serve_shop(pipe: Connection, plan: ShopPlan) -> None:
    """Run in a process of its own: `Host`."""
    pin(0)
    logging.getLogger("entity_sync.server").setLevel(logging.ERROR)  # the readers do not say goodbye
    with asyncio.Runner(loop_factory=loop_factory(plan.uvloop)) as runner:
        runner.run(_serve(pipe, Shop(plan), plan.door))


def loop_factory(is_uvloop: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes the event loop: uvloop's or asyncio's."""
    if not is_uvloop:
        return None
    from uvloop import new_event_loop

    return new_event_loop


async def _serve(pipe: Connection, shop: Shop, door: str) -> None:
    if door == "direct":
        async with listen(shop.sync) as listener:
            pipe.send(listener.port)
            await obey(pipe, shop)
    else:
        async with shop.sync, uvicorn_serving(_mounted(shop.sync)) as port:
            pipe.send(port)
            await obey(pipe, shop)


def _mounted(sync: EntitySync) -> Callable[..., Any]:
    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await sync({**scope, "root_path": "/ws/entity-sync"}, receive, send)

    return application


@asynccontextmanager
async def uvicorn_serving(application: Callable[..., Any]) -> AsyncGenerator[int]:
    """Serve an ASGI application by uvicorn's sans-I/O WebSockets, in the loop that runs already."""
    import uvicorn

    config = uvicorn.Config(
        application,
        port=0,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_level="warning",
        backlog=512,
    )
    server = uvicorn.Server(config)
    serving = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        await serving
