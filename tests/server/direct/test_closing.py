"""The end: of one connection, and of all at once."""

from __future__ import annotations

import asyncio
import json
import struct
from contextlib import AsyncExitStack
from typing import Any

import pytest

from entity_sync import EntitySync, Settings
from entity_sync.server.standalone import listen
from entity_sync.testing import FakeClock, connect
from tests.server.direct.board import Board
from tests.server.direct.raw import CLOSE, PATIENCE, PING, TEXT, V2, Frame, connected, dial, narrow, until

SUBSCRIBE = {"action": "subscribe", "body": {"entity": "items", "id": "1"}}
DRAIN = struct.pack("!H", 1012) + b"drain"


async def dismissed(client) -> Frame:
    """The server's close frame, answered."""
    got: Frame = await client.frame()
    client.send_frame(CLOSE, got.payload[:2])
    await client.ended()
    return got


async def test_drain():
    """At the end every v2 client is told `drain` and when to come back, every client is closed with 1012."""
    board = Board()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(AsyncExitStack())
        listener = await server.enter_async_context(listen(board.sync))
        old = [await stack.enter_async_context(connected(listener)) for _ in range(20)]
        new = [await stack.enter_async_context(connected(listener, V2)) for _ in range(400)]
        ending = asyncio.ensure_future(server.aclose())
        for client in new:
            goodbye = await client.event("goodbye")
            assert goodbye["code"] == "drain"
            assert 0 < goodbye["retry_after_ms"] < 60_000
        for client in old + new:
            assert await dismissed(client) == Frame(CLOSE, DRAIN)
        await asyncio.wait_for(ending, PATIENCE)


async def test_answers_come_before_the_goodbye(board):
    """What a client asked just before the end is answered before it is sent away."""
    async with board.sync, connect(board.sync) as client:
        await client.send({"action": "ping", "ref": 1})
        await board.sync.node.drain()
        assert [message["event"] for message in client.pending()] == ["pong", "goodbye"]
        assert client.close_code == 1012


async def test_no_new_connections_while_draining():
    """Once the end has begun nobody gets in any more."""
    board = Board()
    async with AsyncExitStack() as server:
        listener = await server.enter_async_context(listen(board.sync))
        async with connected(listener) as client:
            ending = asyncio.ensure_future(server.aclose())
            assert (await client.frame()).opcode == CLOSE
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", listener.port)
        await asyncio.wait_for(ending, PATIENCE)


@pytest.mark.parametrize("wire", [None, V2])
async def test_a_client_that_ignores_the_end(wire):
    """A client that does not answer the close frame is cut off 5 s later, and the stop is done."""
    clock = FakeClock()
    board = Board(clock=clock, settings=Settings(drain_timeout=10))
    async with AsyncExitStack() as server:
        listener = await server.enter_async_context(listen(board.sync))
        async with connected(listener, wire) as client:
            ending = asyncio.ensure_future(server.aclose())
            while (await client.frame()).opcode != CLOSE:
                pass
            client.send(SUBSCRIBE)
            client.send_frame(PING)
            await clock.advance(4.9)
            assert not ending.done()
            await clock.advance(0.1)
            await asyncio.wait_for(ending, PATIENCE)
    assert board.loads == []  # what it said after our close frame was not heard


async def test_the_stop_is_bounded():
    """Whoever is left after drain_timeout is cut off."""
    clock = FakeClock()
    board = Board(clock=clock, settings=Settings(drain_timeout=3))
    async with AsyncExitStack() as server:
        listener = await server.enter_async_context(listen(board.sync))
        async with connected(listener), connected(listener, V2), narrow(listener, V2) as stalled:
            stalled.send(SUBSCRIBE)
            await stalled.event("snapshot")
            stalled.transport.pause_reading()
            for number in range(300):
                board.rows["1"] = {"number": number, "fill": "x" * 65_536}
                await board.items.notify("1")
                await until(lambda: board.sync.node.idle)
            ending = asyncio.ensure_future(server.aclose())
            await clock.advance(2.9)
            assert not ending.done()
            await clock.advance(0.1)
            await asyncio.wait_for(ending, PATIENCE)


async def test_a_handshake_that_is_not_done_is_dropped():
    """The stop does not wait for handshakes."""
    board = Board()
    async with AsyncExitStack() as server:
        listener = await server.enter_async_context(listen(board.sync))
        async with dial(listener) as client, connected(listener) as witness:
            client.writer.write(b"GET / HT")
            await witness.until_pong()
            ending = asyncio.ensure_future(server.aclose())
            assert (await dismissed(witness)).opcode == CLOSE
            assert await client.rest() == b""
            await asyncio.wait_for(ending, PATIENCE)


async def test_a_listener_ends_before_the_application():
    """Where the application runs on, the end of the listener still sends its clients away in order."""
    board = Board()
    async with board.sync, AsyncExitStack() as server:
        listener = await server.enter_async_context(listen(board.sync))
        async with connected(listener, V2) as client:
            ending = asyncio.ensure_future(server.aclose())
            await client.event("goodbye")
            assert await dismissed(client) == Frame(CLOSE, DRAIN)
            await asyncio.wait_for(ending, PATIENCE)
        assert board.sync.node.is_ready


@pytest.mark.parametrize("how", ["half", "reset"])
async def test_a_client_that_vanishes(board, listener, how):
    """A client that is gone without a close frame is forgotten, with its subscriptions."""
    async with connected(listener, V2) as client:
        client.send(SUBSCRIBE)
        await client.event("snapshot")
        if how == "half":
            client.writer.write_eof()
            assert await client.rest() == b""
        else:
            await client.leave()
        await until(lambda: not board.members)
        assert len(board.sync.node.hub.views) == 0


async def test_a_close_frame_ends_a_message_in_pieces(board, client):
    """A close frame within a fragmented message is a protocol error, not a hang."""
    client.send_frame(TEXT, b"{", fin=False)
    client.send_frame(CLOSE, b"\x03\xe8")
    assert (await client.closing())[0] == 1002
    await client.leave()
    await until(lambda: not board.members)


async def test_nothing_is_heard_after_the_close():
    """What a client sends behind its close frame, or after ours, is ignored."""
    board = Board()
    async with listen(board.sync) as listener, connected(listener) as client:
        client.send_frame(CLOSE, b"\x03\xe8")
        client.send(SUBSCRIBE)
        assert await client.closing() == (1000, "")
        await client.leave()
        await until(lambda: not board.members)
    assert board.loads == []


@pytest.mark.parametrize("wire", [None, V2])
async def test_the_server_closes_first(wire):
    """Once both close frames are exchanged the server closes, whether the client does or not."""
    board = Board(clock=FakeClock())
    async with listen(board.sync) as listener, connected(listener, wire) as client:
        client.send_frame(CLOSE)
        await client.closing()
        await until(lambda: not board.members)


@pytest.mark.parametrize("wire", [None, V2])
async def test_nothing_is_left_of_a_connection(wire):
    """The end of a connection leaves no timer and no task behind."""
    clock = NotingClock()
    board = Board(clock=clock)
    async with listen(board.sync) as listener:
        await clock.advance(0)
        before = len(clock.pending), len(asyncio.all_tasks())
        async with connected(listener, wire) as client:
            client.send(SUBSCRIBE)
            await client.until_pong()
            await clock.advance(54)
        await until(lambda: not board.members)
        assert (len(clock.pending), len(asyncio.all_tasks())) == before


class NotingClock(FakeClock):
    """Knows which of its timers are neither cancelled nor done."""

    def __init__(self) -> None:
        super().__init__()
        self._set: list[Any] = []

    def call_later(self, seconds, callback):
        timer = super().call_later(seconds, callback)
        self._set.append(timer)
        return timer

    @property
    def pending(self):
        return [timer for timer in self._set if timer.callback is not None and timer.when > self.now()]


async def test_overdue_authentication_closes_with_a_reason():
    """A close that the session asks for reaches the client with its code and reason."""
    clock = FakeClock()
    sync = EntitySync(clock=clock, settings=Settings(authenticate_timeout=10))

    @sync.authenticate
    async def who(secret, connection):
        return secret or ""

    async with listen(sync) as listener, connected(listener, V2) as client:
        await clock.advance(10)
        while (got := await client.frame()).opcode != CLOSE:
            assert json.loads(got.payload)["event"] == "beat"
        assert got.payload[:2] == struct.pack("!H", 1008)
        assert len(got.payload) > 2
