"""A client that sends as much as it can: others are served meanwhile, and nothing piles up."""

from __future__ import annotations

import asyncio

import pytest

from entity_sync.server.keepalive import Keepalive
from tests.server.direct.raw import PING, PONG, TEXT, V2, connected, frame, narrow, pushes, until

FLOOD = 100_000
FLOODS = {
    "pongs": frame(PONG) * FLOOD,
    "pings": frame(PING) * FLOOD,
    "empty messages": frame(TEXT) * FLOOD,
    "empty fragments": frame(TEXT, fin=False) + frame(0, fin=False) * FLOOD,
    "subscribes": frame(TEXT, b'{"action":"subscribe","body":{"entity":"items","id":"1"}}') * (FLOOD // 10),
}


@pytest.fixture
def pongs(monkeypatch):
    """Counts the pongs that the server has looked at."""
    counted: list[None] = []
    original = Keepalive.pong

    def pong(self):
        counted.append(None)
        original(self)

    monkeypatch.setattr(Keepalive, "pong", pong)
    return counted


async def test_another_handshake_during_a_flood(listener, pongs):
    """While one client floods with a hundred thousand tiny frames another one connects and is answered: not
    after the flood, but after a small part of it."""
    async with connected(listener) as flooding:
        flooding.writer.write(FLOODS["pongs"])
        await until(lambda: pongs)
        async with connected(listener, V2) as client:
            client.send({"action": "ping"})
            await client.event("pong")
            assert len(pongs) < FLOOD / 10
        assert await flooding.until_pong() == []
        assert len(pongs) == FLOOD


async def test_unsolicited_pongs_start_no_tasks(listener, pongs):
    """Unsolicited pongs, however many, start no task and set no timer."""
    async with connected(listener) as flooding:
        await flooding.until_pong()
        loop = asyncio.get_running_loop()
        tasks = len(asyncio.all_tasks())
        timers = len(getattr(loop, "_scheduled", ()))
        flooding.writer.write(FLOODS["pongs"])
        while len(pongs) < FLOOD:
            assert len(asyncio.all_tasks()) == tasks
            assert len(getattr(loop, "_scheduled", ())) <= timers + 1
            await asyncio.sleep(0)


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("wire", [None, V2])
async def test_others_are_served_after_any_flood(board, listener, flood, wire):
    """Whatever a client floods with, without reading an answer, others are served."""
    async with connected(listener, V2) as client, narrow(listener, wire) as flooding:
        client.send({"action": "subscribe", "body": {"entity": "items", "id": "1"}})
        await client.event("snapshot")
        flooding.transport.pause_reading()
        flooding.writer.write(FLOODS[flood])
        for number in range(20):
            board.rows["1"] = {"number": number}
            await board.items.notify("1")
            assert (await client.event("snapshot"))["rows"] == [{"data": {"number": number}}]
        assert await pushes(board.sync, client) == []


async def test_pings_that_nobody_reads_the_pongs_of(listener):
    """A client that pings and does not read gets, when it reads again, what the sockets held and one last
    pong: they did not pile up in the server."""
    async with narrow(listener) as client:
        client.transport.pause_reading()
        payload = b"x" * 117
        pings = b"".join(frame(PING, payload + b"%08d" % number) for number in range(FLOOD // 2))
        client.writer.write(pings)
        await client.writer.drain()
        await until(lambda: not client.transport.get_write_buffer_size())
        client.transport.resume_reading()
        received = 1
        while not (await client.frame()).payload.endswith(b"%08d" % (FLOOD // 2 - 1)):
            received += 1
        assert received < FLOOD // 4


async def test_a_message_that_asks_for_too_many_answers(client, caplog):
    """One message of thousands of wrong elements has few answers: a sender who reads is no slow one."""
    client.send("[" + ",".join(["0"] * 30_000) + "]")
    assert {(await client.event("error"))["code"] for _ in range(101)} == {"bad_frame"}
    assert await client.until_pong() == []
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
