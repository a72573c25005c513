"""A TCP proxy between a node and its broker that does to a connection what networks do.

Each fault is an async context manager on it, so that a table can name them. Bytes that a fault holds back
arrive later, as TCP sends them again; a connection of which a fault lost bytes carries nothing ever after.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Literal, Self, TypeAlias

from tests.faults.frames import Frame, Splitter, split_nothing

__all__ = ["BOTH", "Direction", "Proxy"]

Direction: TypeAlias = Literal["up", "down"]
"""``up`` is from the node to the broker."""
BOTH: tuple[Direction, ...] = ("up", "down")

_CHUNK = 65_536
_STEP = 0.02  # seconds between the drops of a drip
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close says RST at once


class Flow:
    """What happens at present to the bytes of one direction, on every connection.

    Attributes:
        open: cleared, it holds everything back.
        delay: seconds before each chunk is handed on; what comes meanwhile waits behind it.
        rate: bytes a second, None for as many as come.
        alter: what becomes of the frames that arrived.
        cut_after: draws after how many more bytes a connection ends; None for never.
    """

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.delay = 0.0
        self.rate: int | None = None
        self.alter: Callable[[list[Frame]], list[Frame]] | None = None
        self.cut_after: Callable[[], int] | None = None


class Stream:
    """One direction of one connection."""

    def __init__(
        self, flow: Flow, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, splitter: Splitter
    ) -> None:
        self.writer = writer
        self.is_black = False
        self._flow = flow
        self._reader = reader
        self._split = splitter
        self._left: int | None = None

    async def run(self) -> None:
        """Carry until the sender ends; raises ConnectionError when it is cut."""
        while data := await self._reader.read(_CHUNK):
            if self.is_black:
                continue
            frames = self._split(data)
            if self._flow.alter is not None:
                frames = self._flow.alter(frames)
            await self._hand_on(b"".join(frame.data for frame in frames))
        if not self.is_black:
            self.end()

    def end(self) -> None:
        """Say that nothing follows."""
        with suppress(OSError, RuntimeError):
            self.writer.write_eof()

    async def _hand_on(self, data: bytes) -> None:
        flow = self._flow
        if flow.delay:
            await asyncio.sleep(flow.delay)
        step = len(data) if flow.rate is None else max(1, round(flow.rate * _STEP))
        for start in range(0, len(data), max(1, step)):
            await flow.open.wait()
            if self.is_black:
                return
            await self._write(data[start : start + step])
            if flow.rate is not None:
                await asyncio.sleep(_STEP)

    async def _write(self, data: bytes) -> None:
        if self._flow.cut_after is None:
            self._left = None
        else:
            left = self._flow.cut_after() if self._left is None else self._left
            self._left = left - len(data)
            if self._left <= 0:
                self.writer.write(data[:left])
                await self.writer.drain()
                raise ConnectionAbortedError
        self.writer.write(data)
        await self.writer.drain()


class Pair:
    """One connection of the node, and the one to the broker that belongs to it."""

    def __init__(self, streams: dict[Direction, Stream]) -> None:
        self.streams = streams
        self._jobs: list[asyncio.Task[None]] = []
        for stream in streams.values():
            stream.writer.transport.set_write_buffer_limits(0)  # so that a drained writer closes at once

    async def run(self) -> None:
        """Carry both directions until both have ended, or one cannot go on."""
        loop = asyncio.get_running_loop()
        self._jobs = [loop.create_task(stream.run()) for stream in self.streams.values()]
        try:
            await asyncio.wait(self._jobs, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for job in self._jobs:
                job.cancel()
            for stream in self.streams.values():
                stream.writer.close()
            for outcome in await asyncio.gather(*self._jobs, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                    raise outcome  # an end that is gone, or a cut, is what a proxy is for; this is not

    def reset(self) -> None:
        """RST to both ends."""
        for stream in self.streams.values():
            sock = stream.writer.get_extra_info("socket")
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            stream.writer.transport.abort()
        for job in self._jobs:
            job.cancel()


class Proxy:
    """Listens on a loopback port of its own and leads to another; ``async with`` opens and closes it.

    Attributes:
        port: where it listens, the same for its whole life.
    """

    def __init__(self, target: int, random: Random, splitter: Callable[[], Splitter] = split_nothing) -> None:
        """
        Args:
            target: the broker's port.
            splitter: knows where the frames end that the broker sends.
        """
        # It stays bound and never listens, so that nobody else gets the port while connections are refused.
        self._holder = _bound(0)
        self.port: int = self._holder.getsockname()[1]
        self._target = target
        self._random = random
        self._splitter = splitter
        self._flows: dict[Direction, Flow] = {"up": Flow(), "down": Flow()}
        self._pairs: set[Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._says_goodbye_at_once = False

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._close()
        for task in self._tasks:
            task.cancel()
        self._reset(self._pairs)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._holder.close()

    # Faults

    @asynccontextmanager
    async def refuse(self) -> AsyncIterator[None]:
        """Every connection ends, and new ones are refused."""
        self._close()
        self._reset(self._pairs)
        try:
            yield
        finally:
            await self._listen()

    @asynccontextmanager
    async def turn_away(self) -> AsyncIterator[None]:
        """Every connection ends, and new ones are accepted and closed at once."""
        self._says_goodbye_at_once = True
        self._reset(self._pairs)
        try:
            yield
        finally:
            self._says_goodbye_at_once = False

    @asynccontextmanager
    async def reset(self) -> AsyncIterator[None]:
        """RST on every connection, once."""
        self._reset(self._pairs)
        yield

    @asynccontextmanager
    async def keep_resetting(self, interval: float) -> AsyncIterator[None]:
        """RST on one of the connections, again and again."""

        async def run() -> None:
            while True:
                if self._pairs:
                    self._reset([self._random.choice(list(self._pairs))])
                await asyncio.sleep(interval)

        async with _meanwhile(run()):
            yield

    @asynccontextmanager
    async def black_hole(self, *directions: Direction) -> AsyncIterator[None]:
        """What is connected carries nothing ever after, and no end is told; new ones wait until this ends."""
        for pair in self._pairs:
            for direction in directions:
                pair.streams[direction].is_black = True
        async with self.stall(*directions):
            yield

    @asynccontextmanager
    async def stall(self, *directions: Direction) -> AsyncIterator[None]:
        """Nothing passes until this ends; then everything does."""
        for direction in directions:
            self._flows[direction].open.clear()
        try:
            yield
        finally:
            for direction in directions:
                self._flows[direction].open.set()

    @asynccontextmanager
    async def delay(self, seconds: float, *directions: Direction) -> AsyncIterator[None]:
        """Everything comes that much later, and in lumps."""
        async with self._set("delay", seconds, 0.0, directions):
            yield

    @asynccontextmanager
    async def drip(self, rate: int, *directions: Direction) -> AsyncIterator[None]:
        """Only so many bytes a second pass, in pieces that respect no frame."""
        async with self._set("rate", rate, None, directions):
            yield

    @asynccontextmanager
    async def cut(self, most: int, *directions: Direction) -> AsyncIterator[None]:
        """Each connection ends after at most so many bytes, where a frame is or is not complete."""
        async with self._set("cut_after", lambda: self._random.randint(1, most), None, directions):
            yield

    @asynccontextmanager
    async def alter(
        self, change: Callable[[list[Frame]], list[Frame]], *directions: Direction
    ) -> AsyncIterator[None]:
        """Something else becomes of what arrives; downward in whole frames, upward in chunks."""
        async with self._set("alter", change, None, directions):
            yield

    @asynccontextmanager
    async def half_close(self, direction: Direction) -> AsyncIterator[None]:
        """Every connection says that nothing follows in one direction, and carries on in the other."""
        for pair in self._pairs:
            pair.streams[direction].end()
            pair.streams[direction].is_black = True
        yield

    @asynccontextmanager
    async def _set(
        self, name: str, value: object, usual: object, directions: Iterable[Direction]
    ) -> AsyncIterator[None]:
        for direction in directions:
            setattr(self._flows[direction], name, value)
        try:
            yield
        finally:
            for direction in directions:
                setattr(self._flows[direction], name, usual)

    # Carrying

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, sock=_bound(self.port))

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._says_goodbye_at_once:
                raise ConnectionRefusedError
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except BaseException as error:
            writer.close()
            if not isinstance(error, OSError):
                raise
            return
        pair = Pair({
            "up": Stream(self._flows["up"], reader, far_writer, split_nothing()),
            "down": Stream(self._flows["down"], far_reader, writer, self._splitter()),
        })  # fmt: skip
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)

    def _reset(self, pairs: Iterable[Pair]) -> None:
        for pair in list(pairs):
            pair.reset()


@asynccontextmanager
async def _meanwhile(job: Coroutine[object, object, None]) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(job)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    bound.setblocking(False)
    return bound
