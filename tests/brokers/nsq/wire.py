"""NSQ's protocol from nsqd's side: frames to send, commands to read, and an nsqd that does as it is told."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

PATIENCE = 10.0  # seconds after which a test fails instead of hanging
OK = b"\0\0\0\6\0\0\0\0OK"


class Command(NamedTuple):
    """One command, and its body where it has one."""

    line: str
    body: bytes | None = None


def response(data: bytes) -> bytes:
    return frame(0, data)


def error(text: bytes) -> bytes:
    return frame(1, text)


def message(body: bytes, id: bytes = b"0123456789abcdef") -> bytes:
    return frame(2, struct.pack(">qH", 1, 1) + id + body)


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", len(data) + 4, kind) + data


def commands(data: bytes) -> tuple[list[Command], bytes]:
    """The commands of a client after its magic, and the rest that is none yet."""
    found = []
    while b"\n" in data:
        line, _, rest = data.partition(b"\n")
        body = None
        if line.split()[0] in {b"IDENTIFY", b"AUTH", b"PUB", b"MPUB"}:
            size = int.from_bytes(rest[:4], "big")
            if len(rest) < 4 + size or len(rest) < 4:
                break
            body, rest = rest[4 : 4 + size], rest[4 + size :]
        found.append(Command(line.decode(), body))
        data = rest
    return found, data


class Peer:
    """One client's connection to a `StandIn`.

    Attributes:
        commands: what the client sent so far.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.commands: list[Command] = []
        self._writer = writer
        self._came = asyncio.Condition()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def add(self, found: list[Command]) -> None:
        async with self._came:
            self.commands += found
            self._came.notify_all()

    async def came(self, *names: str) -> Command:
        """The latest command, once the last ones were these."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(
                lambda: [one.line.split()[0] for one in self.commands[-len(names) :]] == list(names)
            )
            return self.commands[-1]

    async def count(self, name: str, number: int) -> list[Command]:
        """All commands of a name, once there are that many."""
        async with asyncio.timeout(PATIENCE), self._came:
            await self._came.wait_for(lambda: len(self._all(name)) >= number)
            return self._all(name)

    def _all(self, name: str) -> list[Command]:
        return [one for one in self.commands if one.line.split()[0] == name]


class StandIn:
    """Accepts, and answers the commands that `answers` names; the rest is up to the test."""

    def __init__(self) -> None:
        self.answers = {
            "IDENTIFY": response(b'{"max_rdy_count":2500}'),
            "SUB": OK,
            "CLS": response(b"CLOSE_WAIT"),
        }
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"nsq://127.0.0.1:{self.port}"

    async def peer(self) -> Peer:
        """The next client that connected."""
        async with asyncio.timeout(PATIENCE):
            return await self.peers.get()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[StandIn, None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            assert await reader.readexactly(4) == b"  V2"
            peer, rest = Peer(writer), b""
            self.peers.put_nowait(peer)
            while data := await reader.read(65_536):
                found, rest = commands(rest + data)
                for command in found:
                    if answer := self.answers.get(command.line.split()[0]):
                        peer.send(answer)
                await peer.add(found)
        writer.close()
