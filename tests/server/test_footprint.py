"""What an idle connection takes, in bytes of Python objects: most connections are idle most of the time."""

from __future__ import annotations

import gc
import tracemalloc

from entity_sync import ConnectionInfo, EntitySync
from entity_sync.core.frame import Frame
from entity_sync.server.connection import Connection
from entity_sync.testing import settled

MANY = 200
FEW_BYTES = 4_800  # 4,170 by CPython 3.11; an empty deque or an asyncio.Event is 760


class Door:
    """A transport of no size."""

    def write(self, frames: list[Frame]) -> None: ...

    def close(self, code: int, reason: str) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def test_an_idle_connection():
    """One that watches what others watch too, behind whichever door."""
    sync, door = EntitySync(), Door()

    @sync.entity("items", public=True)
    async def item(_id: str) -> int:
        return 1

    def connect() -> Connection:
        connection = Connection(sync.node, door, ConnectionInfo("v2"))
        connection.open()
        connection.receive('{"action":"subscribe","body":{"entity":"items","id":"1"}}')
        return connection

    async with sync:
        connections = [connect() for _ in range(10)]
        await settled(sync)
        gc.collect()
        tracemalloc.start(1)
        try:
            connections += [connect() for _ in range(MANY)]
            await settled(sync)
            gc.collect()
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for connection in connections:
            connection.lost()
    assert size / MANY < FEW_BYTES
