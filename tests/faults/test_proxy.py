"""The proxy does what its faults say, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import TypeAlias

import pytest

from tests.faults.frames import SPLITTERS, Frame
from tests.faults.proxy import BOTH, Proxy

Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LARGE = bytes(range(256)) * 4_096


@pytest.fixture
async def echo():
    """A server that sends back what it gets, and ends when its client ends."""
    running: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture
async def proxy(echo: int):
    async with Proxy(echo, Random(1)) as proxy:
        yield proxy


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Connection]:
    async with asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def say(connection: Connection, data: bytes = b"hello") -> bytes:
    """What comes back."""
    reader, writer = connection
    writer.write(data)
    return await reader.readexactly(len(data))


async def say_for_ever(proxy: Proxy) -> None:
    async with connected(proxy) as connection:
        while True:
            await say(connection)


async def is_silent(reader: asyncio.StreamReader) -> bool:
    """Whether neither bytes nor an end come."""
    try:
        async with asyncio.timeout(0.1):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def test_carries(proxy: Proxy):
    """Without a fault everything passes both ways, ends too."""
    async with connected(proxy) as (reader, writer):
        sending = asyncio.create_task(say((reader, writer), LARGE))
        assert await sending == LARGE
        writer.write_eof()
        assert await reader.read() == b""


@pytest.mark.parametrize("away", [Proxy.refuse, Proxy.turn_away])
async def test_away(proxy: Proxy, away):
    """Connections end, new ones get nowhere, and the same port works when it is over."""
    async with connected(proxy) as (reader, writer):
        await say((reader, writer))
        async with away(proxy):
            with pytest.raises(OSError):  # noqa: PT011 - reset
                await reader.readexactly(1)
            try:
                async with connected(proxy) as (late, _):
                    assert await late.read() == b""
                    assert away is Proxy.turn_away
            except ConnectionRefusedError:
                assert away is Proxy.refuse
    async with connected(proxy) as connection:
        assert await say(connection) == b"hello"


async def test_reset(proxy: Proxy):
    """What is connected is reset, what comes later is not."""
    async with connected(proxy) as (reader, writer):
        await say((reader, writer))
        async with proxy.reset():
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            async with connected(proxy) as connection:
                assert await say(connection) == b"hello"


async def test_some(proxy: Proxy):
    """Only the named connections are hurt."""
    async with connected(proxy) as first, connected(proxy) as second, connected(proxy) as third:
        for connection in (first, second, third):
            await say(connection)
        async with proxy.reset(slice(1)), proxy.forget(slice(-1, None)):
            third[1].write(b"lost")
            assert await is_silent(third[0])
            assert await say(second) == b"hello"
            with pytest.raises(ConnectionResetError):
                await first[0].readexactly(1)


async def test_keep_resetting(proxy: Proxy):
    """Every connection is reset sooner or later, for as long as it lasts."""
    async with proxy.keep_resetting(0.01):
        for _ in range(3):
            with pytest.raises(OSError):  # noqa: PT011 - reset, perhaps while connecting
                await say_for_ever(proxy)
    async with connected(proxy) as connection:
        assert await say(connection) == b"hello"


async def test_black_hole(proxy: Proxy):
    """What was connected never carries again; what connects meanwhile does once it is over."""
    async with connected(proxy) as old, AsyncExitStack() as stack:
        await say(old)
        async with proxy.black_hole(*BOTH):
            old[1].write(b"lost")
            new = await stack.enter_async_context(connected(proxy))
            new[1].write(b"kept")
            assert await is_silent(old[0])
            assert await is_silent(new[0])
        assert await new[0].readexactly(4) == b"kept"
        old[1].write(b"lost too")
        assert await is_silent(old[0])


@pytest.mark.parametrize("direction", BOTH)
async def test_stall(proxy: Proxy, direction):
    """What is held back comes when it is over, all of it and in order."""
    async with connected(proxy) as (reader, writer):
        async with proxy.stall(direction):
            writer.write(b"one")
            assert await is_silent(reader)
            writer.write(b"two")
        assert await reader.readexactly(6) == b"onetwo"


async def test_delay(proxy: Proxy):
    """Everything takes that much longer each way."""
    async with connected(proxy) as connection:
        async with proxy.delay(0.05, *BOTH):
            start = time.monotonic()
            await say(connection)
            assert time.monotonic() - start >= 0.1
        assert await say(connection, LARGE) == LARGE


async def test_drip(proxy: Proxy):
    """Bytes pass one after the other, none is lost."""
    async with connected(proxy) as connection, proxy.drip(10_000, "down"):
        start = time.monotonic()
        assert await say(connection, LARGE[:2_000]) == LARGE[:2_000]
        assert time.monotonic() - start >= 0.15


async def test_cut(proxy: Proxy):
    """A connection ends in the middle, what came before arrives, and so does the next one."""
    async with proxy.cut(500, "down"):
        for _ in range(3):
            async with connected(proxy) as (reader, writer):
                writer.write(LARGE[:1_000])
                got = await reader.read()
                assert 0 < len(got) <= 500
                assert LARGE.startswith(got)
    async with connected(proxy) as connection:
        assert await say(connection, LARGE) == LARGE


async def test_half_close(proxy: Proxy):
    """One direction ends; in the other everything passes."""
    async with connected(proxy) as (reader, writer):
        await say((reader, writer))
        async with proxy.half_close("down"):
            assert await reader.read() == b""
            writer.write(b"nobody hears the answer")
            await writer.drain()
        async with connected(proxy) as connection:
            assert await say(connection) == b"hello"


async def test_alter(proxy: Proxy):
    """What becomes of frames is what arrives."""
    async with connected(proxy) as (reader, writer):
        async with proxy.alter(lambda frames: frames * 2, "down"):
            assert await say((reader, writer)) == b"hello"
            assert await reader.readexactly(5) == b"hello"
        assert await say((reader, writer)) == b"hello"


MESSAGES = {
    "nsq": [b"\0\0\0\6\0\0\0\0OK", b"\0\0\0\x21\0\0\0\2" + b"t" * 8 + b"\0\1" + b"0123456789abcdef" + b"abc"],
    "nats": [
        b"INFO {}\r\n",
        b"MSG items 1 4\r\na\r\nb\r\n", b"PING\r\n", b"HMSG items 1 12 13\r\n" + b"h" * 13 + b"\r\n",
    ],
    "redis": [
        b"+OK\r\n", b"*3\r\n$7\r\nmessage\r\n$5\r\nitems\r\n$3\r\na\r\n\r\n", b"$-1\r\n", b":7\r\n",
        b"*2\r\n*1\r\n:1\r\n*-1\r\n", b"*0\r\n",
    ],
    "postgresql": [b"Z\0\0\0\5I", b"A\0\0\0\x10\0\0\0\1items\0a\0", b"1\0\0\0\4"],
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
@pytest.mark.parametrize("scheme", MESSAGES)
def test_splits(scheme: str, size: int):
    """However bytes arrive, whole frames come out, and messages are told from answers."""
    data, split = b"".join(MESSAGES[scheme]), SPLITTERS[scheme]()
    frames: list[Frame] = []
    for start in range(0, len(data), size):
        frames += split(data[start : start + size])
    assert [frame.data for frame in frames] == MESSAGES[scheme]
    wanted = {"nsq": [1], "nats": [1, 3], "redis": [1], "postgresql": [1]}[scheme]
    assert [number for number, frame in enumerate(frames) if frame.is_message] == wanted
