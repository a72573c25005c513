"""Frames and messages at their limits, on v2."""

from __future__ import annotations

import asyncio

import pytest

from entity_sync import Settings
from entity_sync.server.assembly import MAX_FRAGMENTS
from entity_sync.server.standalone import listen
from tests.server.direct.board import Board
from tests.server.direct.raw import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    V2,
    Frame,
    connected,
    dial,
    frame,
    request,
    until,
)

ASK = b'{"action":"ping"}'


@pytest.mark.parametrize("size", [17, 125, 126, 127, 65_535, 65_536])
async def test_length_forms(client, size):
    """Every form of the length field is read, up to the limit."""
    client.send_frame(TEXT, ASK.ljust(size))
    assert await client.message() == b'{"event":"pong"}'


@pytest.mark.parametrize("length", [65_537, 100_000_000, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
async def test_a_length_beyond_the_limit(client, length):
    """A frame that only claims to be too large is refused by its header, with 1009 and no reason."""
    client.writer.write(frame(BINARY, b"", length=length))
    assert await client.closing() == (1009, "")


@pytest.mark.parametrize("length", [126, 127, 65_536, 2**63])
async def test_a_long_control_frame(client, length):
    """A control frame over 125 bytes is refused, with 1002 where it is below the message limit."""
    client.writer.write(frame(PING, b"x" * min(length, 70_000), length=length))
    code, _ = await client.closing()
    assert code == (1002 if length <= 65_536 else 1009)


async def test_fragments_are_bounded_in_number(client):
    """A message in endless empty fragments is refused with 1008; one in as many as allowed passes."""
    client.send_frame(TEXT, ASK, fin=False)
    for _ in range(MAX_FRAGMENTS - 2):
        client.send_frame(0, b"", fin=False)
    client.send_frame(0)
    assert await client.message() == b'{"event":"pong"}'
    client.send_frame(TEXT, ASK, fin=False)
    for _ in range(MAX_FRAGMENTS + 1):
        client.send_frame(0, b"", fin=False)
    code, reason = await client.closing()
    assert (code, bool(reason)) == (1008, True)


async def test_the_limit_is_per_message(client):
    """Messages that are large together, but not each, all pass, in pieces or not."""
    for number in range(5):
        data = b'{"action":"ping","ref":%d}'.ljust(40_000) % number
        client.send_frame(TEXT, data[:30_000], fin=False)
        client.send_frame(0, data[30_000:])
        client.send_frame(TEXT, data)
        assert [await client.event("pong") for _ in range(2)] == [{"event": "pong", "ref": number}] * 2


async def test_fragments_are_bounded_in_bytes(client):
    """Endless fragments without an end are cut at the limit."""
    client.send_frame(BINARY, b"x" * 60_000, fin=False)
    client.send_frame(0, b"x" * 6_000, fin=False)
    assert await client.closing() == (1009, "")


@pytest.mark.parametrize(
    "payload", [b"\xff", b'{"action":"ping","x":"\xc3"}', b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
)
async def test_text_that_is_not_utf8(client, payload):
    """Text that is not UTF-8 closes a v2 connection with 1007."""
    client.send_frame(TEXT, payload)
    assert (await client.closing())[0] == 1007


async def test_a_character_across_fragments(client):
    """A character may be cut between two fragments."""
    data = '{"action":"ping","ref":"é"}'.encode()
    cut = data.index(b"\xa9")
    client.send_frame(TEXT, data[:cut], fin=False)
    client.send_frame(0, data[cut:])
    assert await client.event("pong") == {"event": "pong", "ref": "é"}


async def test_a_binary_frame_is_an_error(client):
    """A binary frame is a `bad_frame` on v2, and the connection is kept."""
    client.send(ASK)
    assert (await client.event("error"))["code"] == "bad_frame"
    assert await client.until_pong() == []


@pytest.mark.parametrize("code", [1000, 1001, 1008, 3000, 4999])
async def test_close_is_echoed(client, code):
    """The client's close code comes back, then the end."""
    client.send_frame(CLOSE, code.to_bytes(2, "big"))
    assert (await client.closing())[0] == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 5000])
async def test_codes_that_must_not_be_sent(client, code):
    """A close code that RFC 6455 forbids on the wire is a protocol error."""
    client.send_frame(CLOSE, code.to_bytes(2, "big"))
    assert (await client.closing())[0] == 1002


async def test_messages_before_an_error_count(board, client):
    """What came before a wrong frame is handled, even when both come in one piece."""
    answered = frame(TEXT, b'{"action":"subscribe","body":{"entity":"items","id":"1"}}')
    client.writer.write(answered + frame(TEXT, b"{}", rsv=4) + answered)
    before, code = [], 0
    while not code:
        got = await client.frame()
        before.append(got)
        code = got.opcode == CLOSE and int.from_bytes(got.payload[:2], "big")
    assert code == 1002
    await client.leave()
    await until(lambda: not board.members)
    assert board.loads == ["1"]


async def test_a_subscription_limit():
    """Beyond max_subscriptions an element is refused; unsubscribing frees its place at once."""
    board = Board(settings=Settings(max_subscriptions=2))
    async with listen(board.sync) as listener, connected(listener, V2) as client:
        keys = [{"entity": "items", "id": id} for id in "123"]
        client.send({"action": "subscribe", "body": keys})
        assert [one["code"] for one in (await client.event("ack"))["failed"]] == ["limit"]
        client.send([{"action": "unsubscribe", "body": keys[0]}, {"action": "subscribe", "body": keys[2]}])
        acks = [await client.event("ack"), await client.event("ack")]
        assert acks == [{"event": "ack"}, {"event": "ack"}]


async def test_nothing_is_read_while_on_message_is_busy():
    """A client that sends faster than on_message works is held back by its own socket, not by our memory."""
    board, release, taken = Board(), asyncio.Event(), []

    @board.sync.on_message
    async def note(message):
        await release.wait()
        taken.append(message.json())

    async with listen(board.sync) as listener, connected(listener, V2) as client:
        for number in range(500):
            client.send({"action": "message", "ref": number, "body": number})
        asked = asyncio.ensure_future(client.until_pong())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not asked.done()
        release.set()
        acks = await asked
        assert taken == list(range(len(taken)))
        while len(acks) < 500:
            acks.append(await client.message())
        assert taken == list(range(500))


async def test_two_handshakes_on_one_connection(listener):
    """What follows the handshake is frames, not another request."""
    async with dial(listener) as client:
        assert (await client.ask(request())).status == 101
        client.writer.write(request())
        assert (await client.closing())[0] == 1002


async def test_pongs_answer_the_newest_ping(client):
    """Pings in one piece are answered, each with its own payload while the client reads."""
    client.writer.write(b"".join(frame(PING, bytes([number])) for number in range(100)))
    assert [await client.frame() for _ in range(100)] == [
        Frame(PONG, bytes([number])) for number in range(100)
    ]
