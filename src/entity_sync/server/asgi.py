"""The ASGI door: mounts into any framework, on any ASGI server, and never waits for a peer."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

from entity_sync.clock import is_cancelled
from entity_sync.core import v2
from entity_sync.core.frame import Frame
from entity_sync.errors import NotRunning, described
from entity_sync.hub.node import Node
from entity_sync.model import ConnectionInfo
from entity_sync.server.connection import Connection
from entity_sync.server.handshake import Handshake, Refusal, consider
from entity_sync.server.servable import Servable

__all__ = ["serve_asgi"]

_log = logging.getLogger("entity_sync.asgi")

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_TOO_BIG = 1009


async def serve_asgi(sync: Servable, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one scope.

    WebSockets at exactly the mount point, with or without the slash; plain HTTP is told that
    only WebSockets live here; the lifespan is ours where nobody is above us.
    """
    kind = scope["type"]
    if kind == "lifespan":
        await _lifespan(sync, receive, send)
    elif kind == "websocket":
        await _websocket(sync, scope, receive, send)
    else:
        await _http(scope, send)


async def _lifespan(sync: Servable, receive: Receive, send: Send) -> None:
    await receive()
    await _step("startup", sync.__aenter__(), send)
    await receive()
    await _step("shutdown", sync.__aexit__(None, None, None), send)


async def _step(name: str, work: Awaitable[object], send: Send) -> None:
    try:
        await work
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise  # the server gives up, and hears nothing any more
        # A server takes an exception by itself for an application without a lifespan, and serves.
        await send({"type": f"lifespan.{name}.failed", "message": traceback.format_exc()})
        raise
    await send({"type": f"lifespan.{name}.complete"})


async def _http(scope: Scope, send: Send) -> None:
    status, text = (426, b"only WebSockets live here\n") if scope["method"] == "GET" else (405, b"")
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(text))]
    headers.append((b"upgrade", b"websocket") if status == 426 else (b"allow", b"GET"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def _websocket(sync: Servable, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    try:
        node = sync.node
    except NotRunning as error:
        _log.error("a WebSocket was refused: %s", error)
        await _refuse(Refusal(503, "not started"), scope, send)
        return
    info = _consider(node, scope)
    if isinstance(info, Refusal):
        await _refuse(info, scope, send)
        return
    await send({"type": "websocket.accept", "subprotocol": v2.select(scope.get("subprotocols", ()))})
    door = _Door(send)
    connection = Connection(node, door, info)
    door.begin(connection)
    try:
        await _read_all(connection, door, receive, node.application.settings.max_message)
    except asyncio.CancelledError:
        if not door.is_over:
            raise
        door.reader.uncancel()
    finally:
        connection.lost()
        await door.end()


async def _read_all(connection: Connection, door: _Door, receive: Receive, limit: int) -> None:
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        data: str | bytes = message["bytes"] if text is None else text
        if len(data) > limit or (isinstance(data, str) and len(data.encode()) > limit):
            door.close(_TOO_BIG, "")
        elif not door.is_closing:
            connection.receive(data)
            while door.held is not None:
                await door.held


def _consider(node: Node, scope: Scope) -> ConnectionInfo | Refusal:
    if _within_mount(scope) not in ("", "/"):
        return Refusal(404, "nothing lives at this path")
    return consider(node, _read(scope))


def _within_mount(scope: Scope) -> str:
    """The path below the mount point: frameworks differ in whether ``path`` still holds the root."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and (path + "/").startswith(root + "/") else path


def _read(scope: Scope) -> Handshake:
    client = scope.get("client")
    return Handshake(
        path=scope["path"],
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=[
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
        ],
        offered=scope.get("subprotocols", ()),
        peer=None if client is None else f"{client[0]}:{client[1]}",
    )


async def _refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    if "websocket.http.response" in (scope.get("extensions") or {}):
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": refusal.text.encode()})
        await asyncio.sleep(0)  # uvicorn calls it an error to return before it has closed the socket
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.text})


class _Door:
    """`Transport` over ASGI's ``send``: one writer, which holds at most what one flush gave it.

    Attributes:
        held: what to wait for before more is read.
    """

    __slots__ = (
        "_closing", "_connection", "_frames", "_idle", "_send", "_writer", "held", "is_closing", "is_over",
        "reader",
    )  # fmt: skip

    def __init__(self, send: Send) -> None:
        self.held: asyncio.Future[None] | None = None
        self.is_closing = False
        self.is_over = False
        self._send = send
        self._frames: list[Frame] = []
        self._closing: Message | None = None
        self._idle: asyncio.Future[None] | None = None
        self._connection: Connection
        self._writer: asyncio.Task[None]
        self.reader: asyncio.Task[Any]

    def begin(self, connection: Connection) -> None:
        """Start to write; called by the task that reads."""
        reader = asyncio.current_task()
        assert reader is not None
        self.reader = reader
        self._connection = connection
        self._writer = asyncio.get_running_loop().create_task(self._write_all())
        connection.open()

    async def end(self) -> None:
        """The reader has stopped: stop the writer too, and say why if it is us who close."""
        self.is_closing = self.is_over = True  # a server may make another exception of the cancellation
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        if self._closing is not None:
            with suppress(RuntimeError, OSError):  # the peer is gone, see `_write_all`
                await self._send(self._closing)

    def stop_reading(self) -> None:
        """Have the reader's task go on to `end`: not every server sends a close while it is read."""
        if not self.is_over:
            self.is_closing = self.is_over = True
            self.reader.cancel()

    def write(self, frames: list[Frame]) -> None:
        """`Transport.write`: the outbox keeps marks until these are sent."""
        if not self.is_closing:
            self._frames += frames
            self._connection.block()
            self._wake()

    def close(self, code: int, reason: str) -> None:
        """`Transport.close`: after what was handed over."""
        if not self.is_closing:
            self.is_closing = True
            self._closing = {"type": "websocket.close", "code": code, "reason": reason}
            self._wake()

    def abort(self) -> None:
        """`Transport.abort`: what waits is dropped, the application returns, its server does the rest."""
        self._closing = None
        self.stop_reading()

    def pause_reading(self) -> None:
        """`Transport.pause_reading`."""
        self.held = asyncio.get_running_loop().create_future()

    def resume_reading(self) -> None:
        """`Transport.resume_reading`."""
        held, self.held = self.held, None
        if held is not None and not held.done():
            held.set_result(None)

    def _wake(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _write_all(self) -> None:
        create_future = asyncio.get_running_loop().create_future
        try:
            while self._closing is None or self._frames:
                if not self._frames:
                    # A future and no Event: the writer waits once for every message of a fan-out.
                    self._idle = create_future()
                    await self._idle
                    continue
                frames, self._frames = self._frames, []
                for frame in frames:
                    await self._send({"type": "websocket.send", "text": frame.text})
                self._connection.unblock()
            self.stop_reading()
        except (RuntimeError, OSError) as error:
            # The peer is gone, which servers tell in ways of their own; the reader hears of it too.
            _log.debug("the peer is gone: %s", error)
        except Exception as error:  # noqa: BLE001 - a server may raise anything, and the reader may hear of nothing
            if not self.is_over:
                _log.warning(
                    "a connection ends: the server cannot send: %s", described(error), exc_info=error
                )
            self.abort()
