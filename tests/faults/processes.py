"""Faults of the broker's process, and what it and strangers can do from its side."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from entity_sync.brokers.registry import broker_from
from entity_sync.core.envelope import CONTROL
from tests.faults.viewer import ENTITY
from tests.support.servers import Server

if TYPE_CHECKING:
    from tests.faults.faults import Scene

__all__ = ["forged", "frozen", "kicked", "killed", "meanwhile", "stopped"]


@asynccontextmanager
async def killed(server: Server) -> AsyncIterator[None]:
    """SIGKILL; started again at the end."""
    server.kill()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def stopped(server: Server) -> AsyncIterator[None]:
    """Ended in order; started again at the end."""
    server.terminate()
    try:
        yield
    finally:
        await server.start()


@asynccontextmanager
async def frozen(server: Server) -> AsyncIterator[None]:
    """SIGSTOP; SIGCONT at the end."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@asynccontextmanager
async def kicked(scene: Scene) -> AsyncIterator[None]:
    """The broker itself ends its clients' connections; nsqd does where a topic is deleted."""
    if scene.scheme == "nsq":
        port = int(re.findall(r"HTTP: listening on 127\.0\.0\.1:(\d+)", scene.server.log())[-1])
        path = f"/topic/delete?topic={scene.topics}{ENTITY}"
        answer = await _ask(port, f"POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode())
        assert answer.startswith((b"HTTP/1.0 200", b"HTTP/1.0 404")), answer
    else:
        await scene.server.disconnect_clients()
    yield


@asynccontextmanager
async def forged(scene: Scene) -> AsyncIterator[None]:
    """A stranger publishes: noise, what is too large, keys of nobody, numbers far ahead, false beats."""
    random, stranger = scene.random, {"publisher": "stranger", "epoch": "e"}
    broker = broker_from(scene.server.url)
    await broker.connect()
    try:
        for number in range(20):
            change = {
                "entity": ENTITY,
                "id": f"{random.randrange(10)}",
                **stranger,
                "seq": random.getrandbits(50),
            }
            beat = {"control": "beat", **stranger, "topics": {ENTITY: [10**12 + number, 0]}, "next_ms": 1}
            await broker.publish(f"{scene.topics}{ENTITY}", [
                random.randbytes(random.randint(1, 100)), b"x" * 5_000, b"{}", b"[" * 4_000,
                b'{"entity":"nobody","id":"1"}', json.dumps(change).encode(),
            ])  # fmt: skip
            await broker.publish(f"{scene.topics}{CONTROL}", [b"\xff", json.dumps(beat).encode()])
        yield
    finally:
        await broker.close()


@asynccontextmanager
async def meanwhile(job: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run something until the end; its failure is raised."""
    task = asyncio.get_running_loop().create_task(job)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _ask(port: int, question: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(question)
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
