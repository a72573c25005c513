"""A TCP proxy between a node and its broker, with the faults of a network."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Literal, Self, TypeAlias
from urllib.parse import urlsplit, urlunsplit

__all__ = ["BOTH", "DOWN", "UP", "Direction", "Proxy"]

Direction: TypeAlias = Literal["up", "down"]
UP: tuple[Direction, ...] = ("up",)  # from the node to the broker
DOWN: tuple[Direction, ...] = ("down",)
BOTH: tuple[Direction, ...] = ("up", "down")

_Treatment: TypeAlias = Callable[[bytes], Awaitable[bytes]]


class _Pipe:
    """One connection through the proxy."""

    def __init__(self, node: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self.writers: dict[Direction, asyncio.StreamWriter] = {"down": node, "up": broker}
        self.swallowed: set[Direction] = set()

    def reset(self) -> None:
        """RST towards both ends."""
        for writer in self.writers.values():
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def end(self, direction: Direction) -> None:
        """FIN in this direction."""
        with suppress(OSError, RuntimeError):
            self.writers[direction].write_eof()


class Proxy:
    """Listens on a loopback port and passes on to another, as the faults let it."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._pipes: set[_Pipe] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._treatments: dict[Direction, list[_Treatment]] = {"up": [], "down": []}
        self._refuses = self._swallows_new = False
        self._piece = 0

    @property
    def url(self) -> str:
        """The broker's URL with the proxy's port."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        credentials, separator, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{credentials}{separator}127.0.0.1:{port}"))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # The faults: at once, or while inside

    def reset(self) -> None:
        """RST on every connection."""
        for pipe in self._pipes:
            pipe.reset()

    def end(self, *directions: Direction) -> None:
        """FIN on every connection, in one direction or both."""
        for pipe in self._pipes:
            for direction in directions:
                pipe.end(direction)

    @contextmanager
    def refuse(self) -> Generator[None]:
        """No connection: those that are get a reset, new ones too."""
        self._refuses = True
        self.reset()
        yield
        self._refuses = False

    @contextmanager
    def black_hole(self, *directions: Direction) -> Generator[None]:
        """Take everything and bring nothing; a connection that swallowed never carries again."""
        for pipe in self._pipes:
            pipe.swallowed.update(directions)
        self._swallows_new = True
        yield
        self._swallows_new = False

    @contextmanager
    def stall(self, *directions: Direction) -> Generator[None]:
        """Hold everything back, and deliver it afterwards."""
        gate = asyncio.Event()

        async def wait(data: bytes) -> bytes:
            await gate.wait()
            return data

        with self._treated(wait, *directions):
            yield
            gate.set()

    @contextmanager
    def delay(self, seconds: float, *directions: Direction) -> Generator[None]:
        """Deliver every piece later."""

        async def wait(data: bytes) -> bytes:
            await asyncio.sleep(seconds)
            return data

        with self._treated(wait, *directions):
            yield

    @contextmanager
    def cut_mid_frame(self, after: int, *directions: Direction) -> Generator[None]:
        """Reset each connection in the middle of what it carries, after so many bytes more."""
        left = after

        async def cut(data: bytes) -> bytes:
            nonlocal left
            data, left = data[: max(0, left)], left - len(data)
            if left <= 0:
                asyncio.get_running_loop().call_later(0.01, self.reset)
            return data

        with self._treated(cut, *directions):
            yield

    @contextmanager
    def drip(self, size: int) -> Generator[None]:
        """Deliver in pieces of a few bytes."""
        self._piece = size
        yield
        self._piece = 0

    @contextmanager
    def duplicate(self, *directions: Direction) -> Generator[None]:
        """Deliver pieces twice: a message twice, or a stream that is no longer the protocol's."""

        async def double(data: bytes) -> bytes:
            return data + data

        with self._treated(double, *directions):
            yield

    @contextmanager
    def garble(self, *directions: Direction) -> Generator[None]:
        """Put bytes that mean nothing into the stream."""

        async def spoil(data: bytes) -> bytes:
            return data[: len(data) // 2] + b"\xff\x00garbage\r\n" + data[len(data) // 2 :]

        with self._treated(spoil, *directions):
            yield

    @contextmanager
    def _treated(self, treatment: _Treatment, *directions: Direction) -> Generator[None]:
        for direction in directions:
            self._treatments[direction].append(treatment)
        try:
            yield
        finally:
            for direction in directions:
                self._treatments[direction].remove(treatment)

    # Passing on

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._join(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, broker = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        except OSError:
            writer.transport.abort()
            return
        pipe = _Pipe(writer, broker)
        if self._refuses:
            pipe.reset()
            return
        if self._swallows_new:
            pipe.swallowed.update(BOTH)
        self._pipes.add(pipe)
        try:
            await asyncio.gather(self._pass(pipe, reader, "up"), self._pass(pipe, upstream, "down"))
        finally:
            self._pipes.discard(pipe)
            pipe.reset()

    async def _pass(self, pipe: _Pipe, reader: asyncio.StreamReader, direction: Direction) -> None:
        writer = pipe.writers[direction]
        try:
            while data := await reader.read(65_536):
                for treatment in list(self._treatments[direction]):
                    data = await treatment(data)
                if direction not in pipe.swallowed:
                    await self._write(writer, data)
            pipe.end(direction)
        except (OSError, RuntimeError):
            pipe.reset()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self._piece or len(data)
        for start in range(0, len(data), max(1, size)):
            writer.write(data[start : start + size])
            await writer.drain()
            if self._piece:
                await asyncio.sleep(0.001)
