"""A WebSocket client that sees, and may send, every byte."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, cast

from entity_sync import EntitySync
from entity_sync.server.standalone import Listener
from entity_sync.testing import settled

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
V2 = "entity-sync.v2"
PATIENCE = 10.0  # seconds after which a test fails instead of hanging


class Frame(NamedTuple):
    """One frame as it came: nothing put together, nothing unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True
    is_masked: bool = False


def frame(
    opcode: int, payload: bytes = b"", *, fin=True, masked=True, rsv=0, length: int | None = None
) -> bytes:
    """A client's frame; `length` is what its header claims."""
    size = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 65_536:
        head += bytes([mask_bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = b"\x01\x02\x03\x04"
    padded = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked_payload = int.from_bytes(payload, "big") ^ int.from_bytes(padded, "big")
    return head + mask + masked_payload.to_bytes(len(payload), "big")


def request(path="/ws/entity-sync/", *, method="GET", version="HTTP/1.1", drop=(), **headers) -> bytes:
    """An upgrade request; underscores in header names stand for hyphens."""
    fields = {
        "host": "127.0.0.1",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "sec-websocket-version": "13",
    }
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{method} {path} {version}"]
    lines += [f"{name}: {value}" for name, value in fields.items() if name not in drop]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Answer(NamedTuple):
    """An HTTP answer's head, and its body where it is no upgrade."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name):
        return dict(self.headers).get(name)


class RawClient:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.transport = cast("asyncio.Transport", writer.transport)
        self._pings = 0

    async def ask(self, raw: bytes) -> Answer:
        """Send a request and read the answer, the body too where the connection ends with it."""
        self.writer.write(raw)
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        status = int(first.split(" ")[1])
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        body = b"" if status == 101 else await asyncio.wait_for(self.reader.read(), PATIENCE)
        return Answer(status, headers, body)

    async def shake_hands(self, subprotocol=None, **headers) -> None:
        """Become a WebSocket, and on v2 read the welcome."""
        if subprotocol is not None:
            headers["sec_websocket_protocol"] = subprotocol
        answer = await self.ask(request(**headers))
        assert answer.status == 101, answer
        if subprotocol == V2:
            await self.event("welcome")

    def send(self, message, **how) -> None:
        """A message in one frame: bytes as binary, str as text, anything else as JSON text."""
        if isinstance(message, bytes):
            self.send_frame(BINARY, message, **how)
        else:
            text = message if isinstance(message, str) else json.dumps(message)
            self.send_frame(TEXT, text.encode("utf-8", "surrogatepass"), **how)

    def send_frame(self, opcode, payload=b"", **how) -> None:
        self.writer.write(frame(opcode, payload, **how))

    def subscribe(self, entity="items", id="1") -> None:
        self.send({"action": "subscribe", "body": {"entity": entity, "id": id}})

    async def frame(self) -> Frame:
        """The next frame of any kind."""
        return await asyncio.wait_for(self._frame(), PATIENCE)

    async def _frame(self) -> Frame:
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(await self.reader.readexactly(width), "big")
        payload = await self.reader.readexactly(size)
        return Frame(first & 0x0F, payload, bool(first & 0x80), bool(second & 0x80))

    async def message(self) -> bytes:
        """The next frame, which has to be an unmasked, unfragmented text frame."""
        got = await self.frame()
        assert (got.opcode, got.fin, got.is_masked) == (TEXT, True, False), got
        return got.payload

    async def event(self, *events: str) -> dict[str, Any]:
        """The next v2 message of one of these events."""
        while True:
            got: dict[str, Any] = json.loads(await self.message())
            if got["event"] in events:
                return got

    async def until_pong(self) -> list[bytes]:
        """Everything that the server sent before it answered a ping sent now."""
        self._pings += 1
        token = b"barrier %d" % self._pings
        self.send_frame(PING, token)
        messages = []
        while (got := await self.frame()) != Frame(PONG, token):
            assert (got.opcode, got.fin, got.is_masked) == (TEXT, True, False), got
            messages.append(got.payload)
        return messages

    async def closing(self) -> tuple[int | None, str]:
        """The server's close frame, skipping what comes before, and the end of the stream after it."""
        while (got := await self.frame()).opcode != CLOSE:
            pass
        await self.ended()
        if not got.payload:
            return None, ""
        return int.from_bytes(got.payload[:2], "big"), got.payload[2:].decode()

    async def ended(self) -> None:
        """Nothing comes any more."""
        assert await self.rest() == b""

    async def rest(self) -> bytes:
        """What comes until the end, which may be a reset."""
        found = b""
        with suppress(ConnectionError):
            while data := await asyncio.wait_for(self.reader.read(65_536), PATIENCE):
                found += data
        return found

    async def leave(self) -> None:
        """Cut the connection."""
        self.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def dial(listener: Listener, **options):
    """A TCP connection without a handshake."""
    if "sock" not in options:
        options.update(host="127.0.0.1", port=listener.port)
    reader, writer = await asyncio.open_connection(**options)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        await client.leave()


@asynccontextmanager
async def connected(listener: Listener, subprotocol=None, **headers):
    """A client whose handshake is done; a v2 one has read its welcome."""
    async with dial(listener) as client:
        await client.shake_hands(subprotocol, **headers)
        yield client


async def pushes(sync: EntitySync, client: RawClient) -> list[bytes]:
    """Everything the client has been sent and has not read, once nothing more is under way."""
    before = await client.until_pong()  # what the client said has been handled by now
    await settled(sync)
    return before + await client.until_pong()


@asynccontextmanager
async def narrow(listener: Listener, subprotocol=None):
    """A client whose buffers are small, so that the server notices soon when it does not read."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    stream.setblocking(False)
    await asyncio.get_running_loop().sock_connect(stream, ("127.0.0.1", listener.port))
    async with dial(listener, sock=stream, limit=4_096) as client:
        await client.shake_hands(subprotocol)
        yield client


async def until(condition) -> None:
    """Return when the server has noticed what the test did."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)
