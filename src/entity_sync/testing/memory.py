"""A client in memory: the real session, hub and codecs, without a socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec

from entity_sync.app import EntitySync
from entity_sync.core.frame import Frame
from entity_sync.errors import AccessDenied, ConnectionLost
from entity_sync.loading.ids import id_text
from entity_sync.model import ConnectionInfo, Wire
from entity_sync.server.connection import Connection

__all__ = ["MemoryClient", "connect"]

_SECRET = "secret"  # noqa: S105 - the ref of the message that has it


class MemoryClient:
    """One connection, seen from the client's side.

    Attributes:
        received: every frame's text so far.
        close_code, close_reason: why the server closed, None while it has not.
    """

    def __init__(self, sync: EntitySync, info: ConnectionInfo) -> None:
        self.received: list[str] = []
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self._unread: deque[str] = deque()
        self._arrived = asyncio.Event()
        self._stalled = False
        self._kept: list[Frame] = []
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._connection = Connection(sync.node, self, info)

    @classmethod
    def of(cls, sync: EntitySync, info: ConnectionInfo | None = None) -> MemoryClient:
        """Connect without a context: it stays until `leave` or the end of ``sync``."""
        client = cls(sync, info or ConnectionInfo("v2"))
        client._connection.open()
        return client

    # What a test does

    async def send(self, message: object) -> None:
        """Send one message: an object as JSON, str as a text frame, bytes as a binary one."""
        await self._may_send.wait()
        data = message if isinstance(message, str | bytes) else msgspec.json.encode(message).decode()
        self._connection.receive(data)

    async def subscribe(
        self, entity: str, *ids: str | int | UUID, version: str | None = None, causes: bool = False
    ) -> None:
        """Ask for the states of these keys; what comes is received like anything else.

        Args:
            version: of the state that is held of each; v2 only.
            causes: to be told which notifies a state covers; v2 only.

        Raises:
            BadId: an id is no str, int or UUID, and nothing is asked.
        """
        wanted: list[dict[str, Any]] = [{"entity": entity, "id": id_text(entity, id)} for id in ids]
        if self._connection.outbox.wire == "classic":
            for one in wanted:
                await self.send({"action": "subscribe", "body": one})
        else:
            options = {"version": version, "causes": causes}
            await self.send({"action": "subscribe", "body": [one | options for one in wanted]})

    async def receive(self) -> Any:
        """The next message, decoded.

        Raises:
            ConnectionLost: the server closed, and everything it sent has been read.
        """
        while not self._unread:
            if self.close_code is not None:
                raise ConnectionLost(self.close_code, self.close_reason or "")
            self._arrived.clear()
            await self._arrived.wait()
        return msgspec.json.decode(self._unread.popleft())

    async def receive_until(self, event: str, within: float = 30.0) -> dict[str, Any]:
        """The next message of this event, passing over others.

        Args:
            within: seconds of the running loop.

        Raises:
            TimeoutError: it did not come; the text names what did.
            ConnectionLost: as `receive`.
        """
        came: list[str] = []
        try:
            async with asyncio.timeout(within):
                while True:
                    message: dict[str, Any] = await self.receive()
                    if message.get("event") == event:
                        return message
                    came.append(str(message.get("event")))
        except TimeoutError:
            others = ", ".join(came) or "nothing"
            raise TimeoutError(f"no {event!r} came within {within:g} s, but {others}") from None

    def pending(self) -> list[Any]:
        """Everything that arrived and was not received yet, decoded; takes it."""
        messages = [msgspec.json.decode(text) for text in self._unread]
        self._unread.clear()
        return messages

    def stall(self) -> None:
        """Stop reading: the server sees a socket that takes no more."""
        self._stalled = True
        self._connection.block()

    def resume(self) -> None:
        """Read again."""
        self._stalled = False
        kept, self._kept = self._kept, []
        self._arrive(kept)
        self._connection.unblock()

    def leave(self) -> None:
        """Be gone, without a closing handshake."""
        self._end(1006, "")
        self._connection.lost()

    # What the connection does: `Transport`

    def write(self, frames: list[Frame]) -> None:
        """`Transport.write`."""
        if self._stalled:
            self._kept += frames
        else:
            self._arrive(frames)

    def close(self, code: int, reason: str) -> None:
        """`Transport.close`."""
        self._end(code, reason)
        # A turn later, as a socket tells it: the connection is in the middle of something.
        asyncio.get_running_loop().call_soon(self._connection.lost)

    def abort(self) -> None:
        """`Transport.abort`."""
        self.close(1006, "")

    def pause_reading(self) -> None:
        """`Transport.pause_reading`."""
        self._may_send.clear()

    def resume_reading(self) -> None:
        """`Transport.resume_reading`."""
        self._may_send.set()

    def _end(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
        self._arrived.set()

    def _arrive(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.received.append(frame.text)
            self._unread.append(frame.text)
        self._arrived.set()


@asynccontextmanager
async def connect(
    sync: EntitySync, *, secret: str | None = None, wire: Wire = "v2", info: ConnectionInfo | None = None
) -> AsyncGenerator[MemoryClient, None]:
    """Connect to a started ``sync`` without a socket.

    Args:
        secret: sent first if given; on v2 its answer has been received when this yields.
        wire: which wire to speak, unless ``info`` says it.
        info: what the handshake tells; an empty one of ``wire`` if None.

    Raises:
        NotRunning: ``sync`` is not started.
        AccessDenied: on v2, ``authenticate`` refused the secret, or could not tell.
    """
    client = MemoryClient.of(sync, info or ConnectionInfo(wire))
    try:
        if client._connection.outbox.wire == "v2":
            await client.receive_until("welcome")
        if secret is not None:
            await client.send({"action": "secret", "ref": _SECRET, "body": secret})
            if client._connection.outbox.wire == "v2":
                answer = await client.receive()
                while answer.get("ref") != _SECRET:  # a beat, which comes whenever it is due
                    answer = await client.receive()
                if answer["event"] == "error":
                    raise AccessDenied(answer["text"])
        yield client
    finally:
        client.leave()
