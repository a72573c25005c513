"""Clients that read slowly, or not at all."""

from __future__ import annotations

import json
import socket

from entity_sync import Settings
from entity_sync.server.standalone import listen
from entity_sync.testing import FakeClock
from tests.server.direct.board import Board
from tests.server.direct.raw import PING, PONG, V2, Frame, RawClient, connected, narrow, until

CHANGES = 300
CALM = Settings(slow_timeout=500, ping_interval=25, ping_timeout=10, beat_interval=1_000, stale_after=3_000)
# Where the kernel lets us say so, it takes little ahead; elsewhere some megabytes.
FEW = 20 if hasattr(socket, "TCP_NOTSENT_LOWAT") else CHANGES / 2
SUBSCRIBE = {"action": "subscribe", "body": {"entity": "items", "id": "1"}}


def row(number: int) -> dict[str, object]:
    return {"number": number, "fill": "xy"[number % 2] * 65_536}


async def shown(client: RawClient) -> int:
    """The number of the next state, whichever way it comes."""
    message = await client.event("delta", "snapshot")
    [row] = message["put" if message["event"] == "delta" else "rows"]
    return int(row["data"]["number"])


async def test_a_stalled_reader_gets_the_newest_state(board, listener):
    """With 64 KiB rows a client that stops reading delays nobody, and when it reads again it soon gets the
    newest state instead of all it missed."""
    async with connected(listener, V2) as client, narrow(listener, V2) as stalled:
        for each in (client, stalled):
            each.send(SUBSCRIBE)
            await each.event("snapshot")
        stalled.transport.pause_reading()
        for number in range(CHANGES):
            board.rows["1"] = row(number)
            await board.items.notify("1")
            assert await shown(client) == number
        assert sorted(member.outbox.blocked for member in board.members) == [False, True]
        stalled.transport.resume_reading()
        received: list[int] = []
        while not received or received[-1] != CHANGES - 1:
            received.append(await shown(stalled))
        assert received == sorted(received)
        assert len(received) < FEW
        assert await stalled.until_pong() == []


async def test_a_stalled_classic_reader_gets_the_newest_state(board, listener):
    """The same on classic: pushes are merged while the client does not read, and the last is the newest."""
    async with narrow(listener) as stalled:
        stalled.send(SUBSCRIBE)
        await stalled.until_pong()
        stalled.transport.pause_reading()
        for number in range(CHANGES):
            board.rows["1"] = row(number)
            await board.items.notify("1")
            await until(lambda: board.sync.node.idle)
        stalled.transport.resume_reading()
        received: list[int] = []
        while not received or received[-1] != CHANGES - 1:
            received.append(json.loads(await stalled.message())["number"])
        assert received == sorted(received)
        assert len(received) < FEW


async def test_a_reader_that_stays_stalled_is_cut_off():
    """After slow_timeout a connection that takes no bytes is dropped, and its memory is free."""
    clock = FakeClock()
    board = Board(
        clock=clock, settings=Settings(slow_timeout=60, ping_interval=1_000, classic_ping_interval=50)
    )
    async with listen(board.sync) as listener, narrow(listener, V2) as stalled:
        stalled.send(SUBSCRIBE)
        await stalled.event("snapshot")
        stalled.transport.pause_reading()
        for number in range(CHANGES):
            board.rows["1"] = row(number)
            await board.items.notify("1")
            await until(lambda: board.sync.node.idle)
        await clock.advance(59)
        assert len(board.members) == 1
        await clock.advance(1)
        await until(lambda: not board.members)


async def test_a_blocked_v2_client_is_not_judged_by_pongs():
    """While a v2 connection is blocked the ping may be waiting behind data: a missing pong drops nobody."""
    clock = FakeClock()
    board = Board(clock=clock, settings=CALM)
    async with listen(board.sync) as listener, narrow(listener, V2) as stalled:
        stalled.send(SUBSCRIBE)
        await stalled.event("snapshot")
        stalled.transport.pause_reading()
        for number in range(CHANGES):
            board.rows["1"] = row(number)
            await board.items.notify("1")
            await until(lambda: board.sync.node.idle)
        await clock.advance(200)
        assert len(board.members) == 1
        stalled.transport.resume_reading()
        while (await stalled.event("snapshot"))["rows"][0]["data"]["number"] != CHANGES - 1:
            pass
        await clock.advance(25)
        assert await stalled.frame() == Frame(PING, b"")
        stalled.send_frame(PONG)
        assert await stalled.until_pong() == []
        await clock.advance(24)
        assert len(board.members) == 1
