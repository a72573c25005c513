"""One open socket of a client: writes what is due, reads until it ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import count
from typing import Any, NoReturn, TypeAlias
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus, InvalidURI

from entity_sync.client.incoming import (
    Ack,
    Error,
    Expiring,
    Goodbye,
    Incoming,
    Reply,
    Unreadable,
    Welcome,
    decode,
)
from entity_sync.client.replica import Replica
from entity_sync.client.state import Refusal
from entity_sync.clock import Clock
from entity_sync.errors import ConnectionLost

__all__ = ["Link", "reason_of"]

_Answer: TypeAlias = Ack | Reply
_CREDENTIALS = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
_SECRET = 0  # no message's ref: the place of the one secret that waits


class Link:
    """One connection's life.

    Attributes:
        is_introduced: the server has heard who the client is, so that it may be asked for keys.
        retry_after: seconds the server wants the next connection to wait.
    """

    def __init__(
        self, socket: ClientConnection, replica: Replica, clock: Clock, tell: Callable[[], None]
    ) -> None:
        """
        Args:
            tell: called after each frame, and when there was none for too long.
        """
        self.is_introduced = False
        self.retry_after = 0.0
        self.expiring = asyncio.Event()
        self._socket = socket
        self._replica = replica
        self._clock = clock
        self._tell = tell
        self._welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._stale_after = 15.0
        self._limit = 65_536
        self._due = asyncio.Event()
        self._waiting: dict[int, bytes] = {}  # of callers, whom the client counts, and one secret
        self._answers: dict[int, asyncio.Future[_Answer]] = {}
        self._refs = count(1)
        self._is_lost = False

    async def welcomed(self) -> None:
        """Return once the server has said hello.

        Raises:
            Unreadable: it says nothing.
        """
        await self._welcome

    def introduce(self) -> None:
        """Ask for the keys from now on."""
        self.is_introduced = True
        self.hurry()

    def hurry(self) -> None:
        """There may be something to ask for."""
        self._due.set()

    async def ask(self, action: str, body: object) -> _Answer:
        """Send a message and wait for its answer.

        Whoever gives up before it could be sent takes it back; but a secret only makes way for a newer one,
        since until the server has answered it, data is discarded.

        Raises:
            Refusal: the server's error, or ``too_large`` for what it would not read.
            ConnectionLost: the connection ended before; the message may have arrived or not.
        """
        if self._is_lost:
            raise ConnectionLost(1006, "the connection ended before the question")
        ref = next(self._refs)
        frame = msgspec.json.encode({"action": action, "ref": ref, "body": body})
        if len(frame) > self._limit:
            raise Refusal("too_large", f"{len(frame)} bytes, and the server reads {self._limit}")
        answer: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._answers[ref] = answer
        place = ref
        if action == "secret":
            place = _SECRET
            self._waiting.pop(place, None)
            self._replica.identify(ref)
            self._tell()
        self._waiting[place] = frame
        self.hurry()
        try:
            return await answer
        finally:
            self._waiting.pop(ref, None)
            del self._answers[ref]

    async def write(self) -> NoReturn:
        """Send what is due, whenever something is; the socket's pace decides.

        Raises:
            ConnectionClosed: the socket ended.
        """
        while True:
            await self._due.wait()
            self._due.clear()
            while self._waiting:
                frame = self._waiting.pop(next(iter(self._waiting)))
                await self._socket.send(frame, text=True)
            if self.is_introduced:
                for frame in self._replica.take(self._limit):
                    await self._socket.send(frame, text=True)

    async def read(self) -> NoReturn:
        """Take what the server sends.

        Raises:
            ConnectionClosed: the socket ended.
            Unreadable: the server does not speak this wire.
        """
        while True:
            timer = self._clock.call_later(self._stale_after, self._fall_silent)
            try:
                frame = await self._socket.recv()
            finally:
                timer.cancel()
            messages = decode(frame)
            self._replica.silent(False)
            for message in messages:
                self._replica.receive(message)
                self._take(message)
            self._tell()
            self.hurry()

    def lost(self) -> None:
        """The socket is gone: whoever waits for an answer gets none."""
        self._is_lost = True
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ConnectionLost(1006, "the connection ended before the answer"))
        self._welcome.cancel()

    def _fall_silent(self) -> None:
        if not self._welcome.done():
            self._welcome.set_exception(Unreadable("the server accepted the connection and says nothing"))
        self._replica.silent(True)
        self._tell()

    def _take(self, message: Incoming) -> None:
        if isinstance(message, Welcome):
            self._stale_after = message.stale_ms / 1_000
            self._limit = message.limits.incoming
            if not self._welcome.done():
                self._welcome.set_result(message)
        elif isinstance(message, Expiring):
            self.expiring.set()
        elif isinstance(message, Goodbye):
            self.retry_after = message.retry_after_ms / 1_000
        elif isinstance(message, Ack | Reply | Error) and isinstance(message.ref, int):
            self._answer(message.ref, message)

    def _answer(self, ref: int, message: Ack | Reply | Error) -> None:
        answer: Any = self._answers.get(ref)
        if answer is None or answer.done():
            return
        if isinstance(message, Error):
            answer.set_exception(Refusal(message.code, message.text, message.retryable))
        else:
            answer.set_result(message)


def reason_of(error: Exception, url: str) -> str:
    """Why there is no connection: what the server said, and whether its address may lack a slash.

    It is for logs too, so nothing of the address is in it that may be secret.
    """
    if isinstance(error, InvalidURI):
        return str(InvalidURI(_CREDENTIALS.sub("", error.uri), error.msg))
    if not isinstance(error, InvalidStatus):
        return str(error)
    text = bytes(error.response.body or b"").decode(errors="replace").strip()
    path = urlsplit(url).path
    may_lack_slash = error.response.status_code in (403, 404) and not path.endswith("/")
    hint = f"; did you mean the path {path}/ with a final slash?" if may_lack_slash else ""
    return f"{error}{f': {text[:200]}' if text else ''}{hint}"
