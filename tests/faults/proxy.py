"""A TCP proxy between a node and its broker that does to a connection what networks do.

Each fault is an async context manager on it, so that a table can name them. Bytes that a fault holds back
arrive later, as TCP sends them again; a connection of which a fault lost bytes carries nothing ever after.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Self

from tests.faults.frames import Frame, Splitter, split_nothing
from tests.faults.pair import BOTH, Direction, Flow, Pair, Stream
from tests.support.ports import HeldPort, bound

__all__ = ["BOTH", "Direction", "Proxy"]


_ALL = slice(None)


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
        self._held = HeldPort()  # while connections are refused, too
        self.port = self._held.number
        self._target = target
        self._random = random
        self._splitter = splitter
        self._flows: dict[Direction, Flow] = {"up": Flow(), "down": Flow()}
        self._pairs: dict[Pair, None] = {}  # the oldest first
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
        self._held.close()

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
    async def reset(self, which: slice = _ALL) -> AsyncIterator[None]:
        """RST, once, on these connections in the order of their age."""
        self._reset(list(self._pairs)[which])
        yield

    @asynccontextmanager
    async def keep_resetting(self, interval: float) -> AsyncIterator[None]:
        """RST on the oldest connection, again and again."""

        async def run() -> None:
            while True:
                self._reset(list(self._pairs)[:1])
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
    async def forget(self, which: slice) -> AsyncIterator[None]:
        """These connections, in the order of their age, carry nothing ever after; all else goes on."""
        for pair in list(self._pairs)[which]:
            for stream in pair.streams.values():
                stream.is_black = True
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
        self._server = await asyncio.start_server(self._accept, sock=bound(self.port))

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
        self._pairs[pair] = None
        try:
            await pair.run()
        finally:
            del self._pairs[pair]

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
