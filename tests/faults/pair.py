"""One proxied connection: two directions, and what becomes of the bytes of each."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeAlias

from tests.faults.frames import Frame, Splitter

__all__ = ["BOTH", "Direction", "Flow", "Pair", "Stream"]

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
