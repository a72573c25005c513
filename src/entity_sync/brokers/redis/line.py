"""One connection to a Redis server that ends where those of the library would reconnect silently."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from entity_sync.errors import BrokerUnavailable, MissingExtra

try:
    from redis.asyncio.connection import AbstractConnection
    from redis.exceptions import RedisError, ResponseError
except ImportError:
    raise MissingExtra("a redis:// broker", "redis") from None

__all__ = ["TIMEOUT", "Command", "Line", "Opener"]

TIMEOUT = 4.0
"""Seconds that one exchange with the server may take."""

_FAILURES = (RedisError, OSError, ValueError, LookupError)
"""What reading raises when the server is away, or when what comes is no Redis protocol."""

Command: TypeAlias = tuple[str | bytes | int, ...]
Opener: TypeAlias = Callable[[], AbstractConnection]
"""Makes a connection that is not open yet."""


@dataclass(slots=True)
class _Asked:
    """Who waits for replies; ``whole`` where a single error stands for all of them."""

    count: int
    whole: bool
    done: asyncio.Future[Any]
    replies: list[Any] = field(default_factory=list[Any])


class Line:
    """Commands go out at once, their replies come back in order.

    Attributes:
        ended: its result is the BrokerUnavailable that says why, once it ended.
    """

    def __init__(self, connection: AbstractConnection, hear: Callable[[str, bytes], None] | None) -> None:
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._hear = hear
        self._asked: deque[_Asked] = deque()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, make: Opener, hear: Callable[[str, bytes], None] | None = None) -> Line:
        """Connect and sign in.

        Args:
            hear: called with the topic and the payload of what was published.

        Raises:
            BrokerUnavailable: no server answers, or it refuses us.
        """
        connection = make()
        try:
            async with asyncio.timeout(TIMEOUT):
                await connection.connect()  # type: ignore[no-untyped-call]
        except _FAILURES as error:
            await _close(connection)
            raise BrokerUnavailable(f"no link to Redis: {str(error) or 'no answer'}") from None
        except BaseException:
            await _close(connection)
            raise
        return cls(connection, hear)

    async def ask(self, commands: Sequence[Command], replies: int = 0, within: float = TIMEOUT) -> list[Any]:
        """Send commands and return their replies.

        Args:
            replies: how many a single command has, if not one.
            within: seconds the server may take.

        Raises:
            BrokerUnavailable: the line ended, or the server refused a command.
        """
        if not commands:
            return []
        if not self._connection.is_connected:
            self._end("it was interrupted")
        if self.ended.done():
            raise self._reason()
        asked = _Asked(replies or len(commands), bool(replies), asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        try:
            async with asyncio.timeout(within):
                packed = self._connection.pack_commands(commands)
                await self._connection.send_packed_command(packed, check_health=False)
                await asyncio.wait([asked.done, self.ended], return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise self._end(f"no answer for {within:g} s") from None
        except (RedisError, OSError) as error:
            raise self._end(error) from None
        if not asked.done.done():
            raise self._reason()
        for reply in asked.replies:
            if isinstance(reply, ResponseError):
                raise BrokerUnavailable(f"Redis refused it: {reply}")
        return asked.replies

    async def close(self) -> None:
        """End it at once; what waits to be written is forgotten."""
        self._end("it was closed")
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await _close(self._connection)

    async def _read(self) -> None:
        try:
            while True:
                try:
                    reply = await self._connection.read_response(disconnect_on_error=False)
                except ResponseError as error:
                    reply = error
                if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message" and self._hear:
                    self._hear(reply[1].decode(), reply[2])
                else:
                    self._answer(reply)
        except _FAILURES as error:
            self._end(error)
        finally:
            self._end("it was interrupted")

    def _answer(self, reply: object) -> None:
        asked = self._asked[0]
        asked.replies.append(reply)
        if len(asked.replies) == asked.count or (asked.whole and isinstance(reply, ResponseError)):
            self._asked.popleft()
            if not asked.done.done():
                asked.done.set_result(None)

    def _end(self, why: object) -> BrokerUnavailable:
        if not self.ended.done():
            self.ended.set_result(BrokerUnavailable(f"the link to Redis ended: {why}"))
        return self._reason()

    def _reason(self) -> BrokerUnavailable:
        reason: BrokerUnavailable = self.ended.result()
        return reason


async def _close(connection: AbstractConnection) -> None:
    writer = connection._writer
    if writer is not None:
        writer.transport.abort()  # a frozen server would keep what was to be written, or the end of TLS
    with suppress(RedisError, OSError):
        await connection.disconnect(nowait=True)
