"""What the Go original sent and got, as recorded, against what our adapter sends to the same nsqd."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from entity_sync.brokers.base import Message
from entity_sync.brokers.nsq import NsqBroker
from entity_sync.brokers.nsq.protocol import Frames, Incoming, Response, identify
from entity_sync.core.change import decode, encode
from entity_sync.model import Change, EntityKey
from tests.brokers.nsq import wire
from tests.support.servers import running

pytestmark = pytest.mark.needs("nsqd")
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in Path(__file__).with_name("recorded.jsonl").read_text().splitlines()
]
KEY = EntityKey("items", "100")
UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def recorded(direction: str, name: str, kind: str = "command") -> list[dict[str, Any]]:
    return [row for row in ROWS if row["direction"] == direction and row.get(kind, "").startswith(name)]


@pytest.fixture
async def nsqd(tmp_path):
    async with running("nsq", tmp_path) as server:
        yield server


class Recorder:
    """Forwards every byte, and keeps what each connection said in both directions."""

    def __init__(self, port: int) -> None:
        self.sent: list[bytearray] = []
        self.answered: list[bytearray] = []
        self._port = port

    @asynccontextmanager
    async def running(self):
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port)
        sent, answered = bytearray(), bytearray()
        self.sent.append(sent)
        self.answered.append(answered)
        await asyncio.gather(_forward(reader, to_writer, sent), _forward(to_reader, writer, answered))


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            kept += data
            writer.write(data)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_what_we_send_is_what_was_recorded(nsqd):
    """Topic, form of the channel and body of a change are, byte for byte, those of the original."""
    recorder = Recorder(nsqd.port)
    async with recorder.running() as port:
        broker = NsqBroker(f"nsq://127.0.0.1:{port}")
        await broker.connect()
        await broker.subscribe(["items"])
        await broker.publish("items", [encode(Change(KEY))])
        found = broker.receive()
        async with asyncio.timeout(10):
            await anext(found)
        await broker.close()
    assert all(data.startswith(b"  V2") for data in recorder.sent)
    said = [one for data in recorder.sent for one in wire.commands(bytes(data[4:]))[0]]
    [published] = [one for one in said if "PUB" in one.line]
    assert {tuple(published)} == {(row["command"], row["payload"].encode()) for row in recorded("c2s", "PUB")}
    [subscribed] = [one.line for one in said if one.line.startswith("SUB")]
    for line in (subscribed, *(row["command"] for row in recorded("c2s", "SUB"))):
        assert re.fullmatch(rf"SUB items {UUID4}#ephemeral", line)
    frames = [frame for data in recorder.answered for frame in Frames().feed(bytes(data))]
    [arrived] = [frame for frame in frames if isinstance(frame, Incoming)]
    assert {arrived.body.decode()} == {row["payload"] for row in recorded("s2c", "message", "frame")}
    assert f"FIN {arrived.id.decode()}" in [one.line for one in said]


async def test_a_recorded_node_and_ours_hear_each_other(nsqd):
    """A peer that says what the original said gets our change, and we get its."""
    broker = NsqBroker(nsqd.url)
    await broker.connect()
    await broker.subscribe(["items"])
    reader, writer = await asyncio.open_connection("127.0.0.1", nsqd.port)
    frames = Frames()

    async def answers(count: int) -> list[Any]:
        found: list[Any] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                found += frames.feed(await reader.read(65_536))
        return found

    options = json.loads(recorded("c2s", "IDENTIFY")[0]["payload"])
    subscription = recorded("c2s", "SUB")[0]["command"].encode()
    writer.write(b"  V2" + identify(options) + subscription + b"\nRDY 1\n")
    assert (await answers(2))[1] == Response(b"OK")
    await broker.publish("items", [encode(Change(KEY))])
    [arrived] = await answers(1)
    payload = recorded("c2s", "PUB")[0]["payload"].encode()
    assert arrived.body == payload
    writer.write(b"PUB items\n" + len(payload).to_bytes(4, "big") + payload)
    found = broker.receive()
    async with asyncio.timeout(10):
        messages = [await anext(found), await anext(found)]
    assert messages == [Message("items", payload)] * 2
    assert decode(payload) == Change(KEY)
    writer.close()
    await writer.wait_closed()
    await broker.close()
