"""The ASGI door on real servers: in a process of their own, one application for all."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.ports import HeldPort

APPLICATION = Path(__file__).with_name("application.py")
V2 = ["entity-sync.v2"]

SERVERS = {
    "uvicorn-sansio": ("uvicorn", "--ws", "websockets-sansio", "--log-level", "warning", "--port", "{port}"),
    "uvicorn-wsproto": ("uvicorn", "--ws", "wsproto", "--log-level", "warning", "--port", "{port}"),
    "hypercorn": ("hypercorn", "--log-level", "warning", "--bind", "127.0.0.1:{port}"),
    "granian": ("granian", "--interface", "asgi", "--log-level", "warning", "--port", "{port}"),
}
"""daphne has no lifespan, so nothing would start Entity Sync there: it is tested to be refused."""


@dataclass
class Served:
    """A running server."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def connect(self, path: str = "/ws/items/", **options: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}{path}", compression=None, **options)

    async def change(self, n: int) -> None:
        """Change the row in the server, by its own HTTP endpoint."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET /change/{n} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert b" 200 " in answer.split(b"\r\n")[0]


@contextmanager
def serving(name: str) -> Iterator[Served]:
    with HeldPort() as held, _started(name, held.number) as process:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", held.number)):
                break
        yield Served(name, held.number, process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers too


def _started(name: str, port: int) -> subprocess.Popen[bytes]:
    arguments = [argument.format(port=port) for argument in SERVERS[name]]
    command = [sys.executable, "-m", *arguments, f"{APPLICATION.stem}:app"]
    return subprocess.Popen(command, cwd=APPLICATION.parent, start_new_session=True)


@pytest.fixture(params=SERVERS, scope="module")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    with serving(request.param) as served:
        yield served


async def receive(socket: ClientConnection, *events: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["event"] in events:
                return message


async def closed(socket: ClientConnection) -> int | None:
    """Read to the end; returns the close code."""
    async with asyncio.timeout(20):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


async def subscribed(socket: ClientConnection) -> dict[str, Any]:
    await socket.send(json.dumps({"action": "subscribe", "body": {"entity": "items", "id": "1"}}))
    return await receive(socket, "snapshot")


def n_of(message: dict[str, Any]) -> int:
    [row] = message["put" if message["event"] == "delta" else "rows"]
    n: int = row["data"]["n"]
    return n


@pytest.mark.parametrize("path", ["/ws/items/", "/other/deep/ws/", "/inner/ws/"])
async def test_v2_at_every_mount(served: Served, path: str):
    """Mounted at several paths and depths, in Starlette and FastAPI: state, change, new state."""
    async with served.connect(path, subprotocols=V2) as socket:
        assert socket.subprotocol == "entity-sync.v2"
        n = n_of(await subscribed(socket))
        await served.change(n + 1)
        assert n_of(await receive(socket, "snapshot")) == n + 1


async def test_classic(served: Served):
    """Without a subprotocol it is classic: silent until the change, then the bare row."""
    async with served.connect() as socket, served.connect(subprotocols=V2) as other:
        assert socket.subprotocol is None
        await socket.send(b'{"action":"subscribe","body":{"entity":"items","id":"1"}}')
        await socket.send("nonsense")
        await socket.send('{"hello":"ping"}')
        assert await socket.recv() == '{"echo":{"hello":"ping"}}'  # what came before it was handled
        n = n_of(await subscribed(other))
        await served.change(n + 1)
        assert json.loads(await socket.recv()) == {"n": n + 1, "pad": ""}


@pytest.mark.parametrize("path", ["/ws/items/more", "/ws/items//", "/inner/ws/x"])
async def test_other_paths_are_refused(served: Served, path: str):
    """Below the mount point nothing is accepted."""
    with pytest.raises(InvalidStatus):
        async with served.connect(path, subprotocols=V2):
            pass


@pytest.mark.parametrize(
    ("headers", "is_welcome"),
    [
        ({"Origin": "http://127.0.0.1:{port}"}, True),
        ({"Origin": "https://app.example"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "http://127.0.0.1"}, False),
        ({"Origin": "null"}, False),
        ({"Cookie": "session=1"}, False),
        ({}, True),
    ],
)
async def test_origins(served: Served, headers: dict[str, str], is_welcome: bool):
    """The asked host with its port and what is listed are welcome; cookies need an Origin."""
    headers = {name: value.format(port=served.port) for name, value in headers.items()}
    if is_welcome:
        async with served.connect(additional_headers=headers, subprotocols=V2) as socket:
            await receive(socket, "welcome")
    else:
        with pytest.raises(InvalidStatus) as refused:
            async with served.connect(additional_headers=headers, subprotocols=V2):
                pass
        assert refused.value.response.status_code == 403


async def test_too_large_a_message(served: Served):
    """A message over limits.in closes with 1009."""
    async with served.connect(subprotocols=V2) as socket:
        await socket.send("[" + " " * 70_000 + "]")
        assert await closed(socket) == 1009


async def test_stalled_reader_stops_nobody(served: Served):
    """One reader of 64 KiB rows stops: the other gets every newest state; the first one too, later."""
    async with served.connect("/big/", subprotocols=V2, max_queue=1) as stalled:
        async with served.connect("/big/", subprotocols=V2) as other:
            n = n_of(await subscribed(other))
            await subscribed(stalled)
            for change in range(n + 1, n + 121):
                await served.change(change)
                assert n_of(await receive(other, "delta", "snapshot")) == change
        seen = 0
        while n_of(await receive(stalled, "delta", "snapshot")) != n + 120:
            seen += 1
        assert seen < 119


async def test_plain_http_is_told(served: Served):
    """A plain request at the mount point is told that only WebSockets live there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /ws/items/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert b" 426 " in answer.split(b"\r\n")[0]
    assert b"only WebSockets live here" in answer


# From Python 3.12 on hypercorn 0.18 waits for its open WebSockets to leave by themselves, whatever the
# application: it closes its listener, whose wait_closed there waits for every connection.
STOPPABLE = [name for name in SERVERS if name != "hypercorn" or sys.version_info < (3, 12)]


@pytest.mark.parametrize("name", STOPPABLE)
async def test_stopping_closes_the_clients(name: str):
    """SIGTERM ends every connection, and the server ends in time."""
    with serving(name) as served:
        async with served.connect(subprotocols=V2) as socket:
            await subscribed(socket)
            served.process.terminate()
            await closed(socket)
        await asyncio.to_thread(served.process.wait, 20)
