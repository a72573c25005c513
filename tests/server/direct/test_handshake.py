"""The opening handshake: which wire it chooses, whom it refuses, and how long it may take."""

from __future__ import annotations

import gc

import pytest
from websockets.asyncio.client import connect
from websockets.datastructures import Headers

from entity_sync import Settings
from entity_sync.server.standalone import listen
from entity_sync.testing import FakeClock
from tests.server.direct.board import Board
from tests.server.direct.raw import TEXT, V2, connected, dial, frame, request


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        (V2, V2),
        (f"{V2}, chat", V2),
        (f"chat,{V2}", V2),
        (f"chat, entity-sync.v2.msgpack, {V2}", V2),
        (f"{V2}, {V2}", V2),
        ("entity-sync.v2.msgpack", None),
        ("Entity-Sync.v2", None),
        ("entity-sync.v1", None),
        ("entity-sync.v20", None),
        ("chat", None),
    ],
)
async def test_negotiation(listener, offer, chosen):
    """The exact name is chosen wherever it stands; an offer of only others makes a classic connection."""
    async with dial(listener) as client:
        answer = await client.ask(request(sec_websocket_protocol=offer))
        assert answer.status == 101
        assert answer.header("Sec-WebSocket-Protocol") == chosen
        first = [b"welcome"] if chosen else []
        assert [message[10:17] for message in await client.until_pong()] == first


async def test_v2_answer_has_four_headers(listener):
    """A v2 upgrade answers the mandatory headers and the subprotocol, nothing else."""
    async with dial(listener) as client:
        answer = await client.ask(request(sec_websocket_protocol=V2))
    assert [name for name, _ in answer.headers] == [
        "Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol",
    ]  # fmt: skip


@pytest.mark.parametrize("subprotocols", [None, [V2]])
async def test_a_complete_client(board, listener, subprotocols):
    """A client that offers compression and checks everything it is sent is content, and gets its state."""
    async with connect(listener.url, subprotocols=subprotocols) as client:
        assert client.subprotocol == (V2 if subprotocols else None)
        await client.send('{"action":"subscribe","body":{"entity":"items","id":"1"}}')
        await (await client.ping())
        await board.items.notify("1")
        while '"id":"1"' not in await client.recv():
            pass


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec_websocket_protocol": "é"}, 400),
        ({"sec_websocket_protocol": ""}, 400),
        ({"sec_websocket_protocol": "a b"}, 400),
        ({"sec_websocket_protocol": "x" * 65_536}, 431),
        ({"cookie": "x" * 10_000}, 431),
        ({f"x-{number}": "" for number in range(200)}, 431),
        ({"content_length": "5"}, 400),
        ({"transfer_encoding": "chunked"}, 400),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_strange_headers(listener, headers, status):
    """A header that makes no sense, or too much of it, is refused; nothing breaks."""
    async with dial(listener) as client:
        assert (await client.ask(request(**headers))).status == status


@pytest.mark.parametrize(
    "raw",
    [b"\r\n\r\n", b"hello\r\n\r\n", b"GET /\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n", b"\x16\x03\x01\x00\xa5\n"],
)
async def test_no_http(listener, raw):
    """What is no HTTP request is answered with 400 and the end of the connection."""
    async with dial(listener) as client:
        assert (await client.ask(raw)).status == 400


async def test_http_1_0_is_refused(listener):
    """An upgrade needs HTTP/1.1."""
    async with dial(listener) as client:
        assert (await client.ask(request(version="HTTP/1.0"))).status == 505


async def test_frames_right_behind_the_handshake(listener):
    """A client may send its first messages without waiting for the answer."""
    async with dial(listener) as client:
        subscribe = frame(TEXT, b'{"action":"subscribe","body":{"entity":"items","id":"1"}}')
        answer = await client.ask(request(sec_websocket_protocol=V2) + subscribe)
        assert answer.status == 101
        assert (await client.event("snapshot"))["id"] == "1"


async def test_connection_limit():
    """Beyond max_connections a handshake is refused with 503, and a place that becomes free is given away."""
    board = Board(settings=Settings(max_connections=2))
    async with listen(board.sync) as listener, connected(listener):
        async with connected(listener), dial(listener) as third:
            assert (await third.ask(request())).status == 503
        async with connected(listener):
            pass


async def test_slow_handshake():
    """A handshake that is not complete in time is dropped, however steadily its bytes come."""
    clock = FakeClock()
    board = Board(clock=clock, settings=Settings(handshake_timeout=10))
    async with listen(board.sync) as listener, dial(listener) as client, dial(listener) as silent:
        raw = request()
        for byte in raw[:19]:
            client.writer.write(bytes([byte]))
            await client.writer.drain()
            await clock.advance(0.5)
        await clock.advance(0.5)
        assert await client.rest() == b""
        assert await silent.rest() == b""


async def test_the_handshake_timeout_ends_with_the_handshake():
    """A connection whose handshake is done is not dropped by the handshake's timeout."""
    clock = FakeClock()
    board = Board(clock=clock, settings=Settings(handshake_timeout=3))
    async with listen(board.sync) as listener, connected(listener) as client:
        await clock.advance(4)
        assert await client.until_pong() == []


async def test_an_error_in_a_handshake_is_a_500(listener, monkeypatch, caplog):
    """A mistake of ours in a handshake is answered with 500 and logged; the next handshake works."""
    monkeypatch.setattr("entity_sync.server.upgrade.consider", None)
    async with dial(listener) as client:
        assert (await client.ask(request())).status == 500
    monkeypatch.undo()
    assert len(caplog.records) == 1
    async with connected(listener):
        pass


async def test_what_the_parser_keeps_of_a_handshake(listener):
    """Nothing: its request would be a quarter of all that an idle connection takes."""
    gc.collect()
    before = _headers()
    async with connected(listener, V2, user_agent="somebody's"):
        gc.collect()
        assert _headers() == before


def _headers() -> int:
    return sum(len(one) for one in gc.get_objects() if isinstance(one, Headers))
