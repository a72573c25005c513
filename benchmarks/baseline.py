"""What Entity Sync's fan-out is compared with: the least that could write the same bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from time import perf_counter_ns
from typing import Any, cast

from benchmarks.host import Duties, obey, pin
from benchmarks.plan import BaselinePlan
from benchmarks.row import FIRST, row
from benchmarks.shop import loop_factory, uvicorn_serving

__all__ = ["serve_baseline"]

_ACCEPT = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Baseline(Duties):
    """Makes one message per round; how it is written is `deliver`."""

    def __init__(self, plan: BaselinePlan) -> None:
        self._bytes = plan.row_bytes
        self._n = FIRST
        self.deliver: Callable[[bytes], Awaitable[None]]

    async def change(self, id: str) -> int:
        """One message to everybody; returns its number."""
        self._n += 1
        members = row(id, self._n, perf_counter_ns(), self._bytes)
        await self.deliver(json.dumps(members, separators=(",", ":")).encode())
        return self._n


def serve_baseline(pipe: Connection, plan: BaselinePlan) -> None:
    """Run in a process of its own: `Host`."""
    pin(0)
    with asyncio.Runner(loop_factory=loop_factory(plan.uvloop)) as runner:
        runner.run(_SERVERS[plan.kind](pipe, Baseline(plan)))


async def _serve_floor(pipe: Connection, baseline: Baseline) -> None:
    transports: list[asyncio.Transport] = []

    class Stub(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = cast("asyncio.Transport", transport)
            transports.append(self._transport)

        def data_received(self, data: bytes) -> None:
            if data.startswith(b"GET "):
                self._transport.write(_ACCEPT)

    async def deliver(payload: bytes) -> None:
        frame = b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload
        for transport in transports:
            transport.write(frame)

    baseline.deliver = deliver
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=512)
    pipe.send(server.sockets[0].getsockname()[1])
    await obey(pipe, baseline)
    server.close()
    for transport in transports:
        transport.abort()


async def _serve_websockets(pipe: Connection, baseline: Baseline) -> None:
    from websockets.asyncio.server import ServerConnection, broadcast, serve

    connections: set[ServerConnection] = set()

    async def hold(connection: ServerConnection) -> None:
        connections.add(connection)
        await connection.wait_closed()

    async def deliver(payload: bytes) -> None:
        broadcast(connections, payload.decode())

    baseline.deliver = deliver
    server = await serve(hold, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=512)
    pipe.send(server.sockets[0].getsockname()[1])
    await obey(pipe, baseline)
    for connection in connections:
        connection.transport.abort()
    server.close()


async def _serve_uvicorn(pipe: Connection, baseline: Baseline) -> None:
    sends: list[Callable[[dict[str, Any]], Awaitable[None]]] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        sends.append(send)
        while (await receive())["type"] == "websocket.receive":
            pass

    async def deliver(payload: bytes) -> None:
        text = payload.decode()
        for send in sends:
            await send({"type": "websocket.send", "text": text})

    baseline.deliver = deliver
    async with uvicorn_serving(application) as port:
        pipe.send(port)
        await obey(pipe, baseline)


_SERVERS = {"floor": _serve_floor, "websockets": _serve_websockets, "uvicorn": _serve_uvicorn}
