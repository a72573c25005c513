"""The direct door: a WebSocket on an asyncio transport of our own, one write per client."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import cast

from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as WebSocketFrame
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State

from entity_sync.clock import Timer
from entity_sync.core.frame import Frame
from entity_sync.model import ConnectionInfo
from entity_sync.server.assembly import Assembly, Unacceptable
from entity_sync.server.connection import Connection
from entity_sync.server.entrance import Entrance
from entity_sync.server.http import answer, plain
from entity_sync.server.intake import Intake
from entity_sync.server.keepalive import Keepalive
from entity_sync.server.parser import Parser
from entity_sync.server.upgrade import upgrade

__all__ = ["Door"]

_log = logging.getLogger("entity_sync.direct")
_CLOSE_TIMEOUT = 5.0  # seconds the peer has for its half of the closing handshake
_HIGH_WATER = 16_384  # unwritten bytes beyond which a client's news is conflated
_NOT_SENT = 16_384  # bytes the kernel takes ahead of what the network does
_PONG = 0x8A  # first byte of a pong frame
_BAD_REQUEST = plain(HTTPStatus.BAD_REQUEST, "this is no HTTP request without a body").serialize()


class Door(asyncio.Protocol):
    """One accepted TCP connection: plain HTTP, or after the handshake a `Connection`."""

    __slots__ = (
        "_assembly", "_connection", "_deadline", "_entrance", "_intake", "_is_open", "_keepalive", "_node",
        "_owed_pong", "_parser", "_transport", "is_blocked",
    )  # fmt: skip

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance
        self._node = entrance.node
        settings = self._node.application.settings
        self._parser = Parser(settings.max_message)
        self._intake = Intake(self._feed, self._read)
        self._transport: asyncio.Transport
        self._connection: Connection | None = None
        self._assembly: Assembly
        self._keepalive: Keepalive
        self._is_open = False
        self._owed_pong = b""
        self._deadline: Timer | None = None
        self.is_blocked = False

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """`asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._entrance.enter(self)
        _tune(self._transport)
        self._abort_after(self._node.application.settings.handshake_timeout)

    def data_received(self, data: bytes) -> None:
        """`asyncio.Protocol`."""
        self._intake.take(data)

    def eof_received(self) -> None:
        """`asyncio.Protocol`: half a connection is of no use, so asyncio closes the other half."""
        self._is_open = False

    def pause_writing(self) -> None:
        """`asyncio.Protocol`."""
        self.is_blocked = True
        if self._connection is not None:
            self._connection.block()

    def resume_writing(self) -> None:
        """`asyncio.Protocol`."""
        self.is_blocked = False
        if self._owed_pong and self._is_open:
            self._transport.write(self._owed_pong)
        self._owed_pong = b""
        if self._connection is not None:
            self._connection.unblock()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """`asyncio.Protocol`."""
        self._is_open = False
        self._intake.close()
        self._cancel_deadline()
        if self._connection is not None:
            self._keepalive.stop()
            self._connection.lost()
        self._entrance.leave(self)

    # What the connection tells: `Transport`

    def write(self, frames: list[Frame]) -> None:
        """`Transport.write`."""
        if self._is_open:
            wire = frames[0].wire if len(frames) == 1 else b"".join([frame.wire for frame in frames])
            self._transport.write(wire)

    def close(self, code: int, reason: str) -> None:
        """`Transport.close`."""
        if self._is_open and self._parser.state is State.OPEN:
            self._parser.send_close(code, reason)
            self._flush()

    def abort(self) -> None:
        """`Transport.abort`."""
        self._is_open = False
        self._transport.abort()

    def pause_reading(self) -> None:
        """`Transport.pause_reading`."""
        self._intake.hold()

    def resume_reading(self) -> None:
        """`Transport.resume_reading`."""
        self._intake.release()

    @property
    def is_reading(self) -> bool:
        """`Pinged.is_reading`."""
        return self._intake.is_reading

    def ping(self) -> None:
        """`Pinged.ping`."""
        if self._is_open:
            self._parser.send_ping(b"")
            self._flush()

    def drain(self) -> None:
        """End in order: a client is told to come back, a handshake that is not done is dropped."""
        if self._connection is not None:
            self._connection.drain()
        else:
            self.abort()

    # Bytes in, bytes out

    def _feed(self, data: bytes) -> int:
        self._parser.receive_data(data)
        events = self._parser.events_received()
        try:
            for event in events:
                if isinstance(event, Request):
                    self._request(event)
                elif isinstance(event, WebSocketFrame):
                    self._take(event)
        except Unacceptable as refused:
            self._parser.fail(refused.code, refused.reason)
        except Exception as error:  # noqa: BLE001 - the others must not notice a mistake in serving this one
            _log.error("a message could not be handled", exc_info=error)
            self._give_up()
        self._flush()
        return len(events)

    def _give_up(self) -> None:
        if self._parser.state is State.CONNECTING:
            self._parser.send_response(plain(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed"))
        else:
            self._parser.fail(CloseCode.INTERNAL_ERROR)

    def _take(self, frame: WebSocketFrame) -> None:
        if frame.opcode is Opcode.PONG:
            self._keepalive.pong()
        elif frame.opcode not in (Opcode.PING, Opcode.CLOSE) and self._is_open:
            message = self._assembly.add(frame)
            if message is not None and self._connection is not None:
                self._connection.receive(message)

    def _flush(self) -> None:
        writes = self._parser.data_to_send()
        self._is_open = self._parser.state is State.OPEN and not self._transport.is_closing()
        if self._transport.is_closing() or not writes:
            return
        if writes == [SEND_EOF] and self._parser.state is State.CONNECTING:
            writes.insert(0, _BAD_REQUEST)  # `websockets` only hangs up on what is no HTTP
        self._write([data for data in writes if data])
        if self._parser.close_expected() and self._deadline is None:
            self._abort_after(_CLOSE_TIMEOUT)
        if writes[-1] == SEND_EOF:
            self._end()

    def _end(self) -> None:
        if self._parser.close_rcvd is not None:
            self._transport.close()
        else:
            # Closing on unread bytes would reset the connection, and with it lose what we said last.
            self._transport.write_eof()

    def _write(self, writes: list[bytes]) -> None:
        if self.is_blocked:
            # One pong for the newest ping is enough (RFC 6455 §5.5.3): a peer that does not read
            # must not make them pile up.
            self._owed_pong = next((data for data in reversed(writes) if data[0] == _PONG), self._owed_pong)
            writes = [data for data in writes if data[0] != _PONG]
        if writes:
            self._transport.write(b"".join(writes))

    def _read(self, is_reading: bool) -> None:
        if is_reading:
            self._transport.resume_reading()
            if self._connection is not None:
                self._keepalive.resume()
        else:
            self._transport.pause_reading()

    def _abort_after(self, seconds: float) -> None:
        self._deadline = self._node.application.clock.call_later(seconds, self.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # The handshake

    def _request(self, request: Request) -> None:
        entrance, node = self._entrance, self._node
        if request.path.partition("?")[0] != entrance.path:
            self._parser.send_response(answer(request, node, entrance.pages))
            return
        peer = self._transport.get_extra_info("peername")
        response, info = upgrade(self._parser, request, node, f"{peer[0]}:{peer[1]}" if peer else None)
        self._parser.send_response(response)
        if info is not None:
            request.headers.clear()  # the parser keeps the request for as long as the connection lasts
            self._flush()
            self._open(info)

    def _open(self, info: ConnectionInfo) -> None:
        application = self._node.application
        self._cancel_deadline()
        self._assembly = Assembly(application.settings.max_message, is_lenient=info.wire == "classic")
        self._keepalive = Keepalive(self, info.wire, application.clock, application.settings)
        self._keepalive.start()
        self._connection = Connection(self._node, self, info)
        self._connection.open()


def _tune(transport: asyncio.Transport) -> None:
    transport.set_write_buffer_limits(high=_HIGH_WATER)
    stream = transport.get_extra_info("socket")
    with suppress(OSError):  # a peer that is gone already
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Without it the kernel takes megabytes, and conflation begins thousands of messages late.
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT)
