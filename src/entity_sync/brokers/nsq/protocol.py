"""NSQ's TCP protocol V2 without any input or output: commands as bytes, bytes as frames.

The shape is that of h11: feed what arrived, take the events. https://nsq.io/clients/tcp_protocol_spec.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from struct import Struct
from typing import Any, NamedTuple, TypeAlias, cast

from entity_sync.errors import BrokerError, ConfigurationError

__all__ = [
    "CLOSE", "HEARTBEAT", "MAGIC", "MAX_BATCH_BYTES", "MAX_BATCH_COUNT", "MAX_FRAME", "NOP", "Failure",
    "Frame", "Frames", "Incoming", "ProtocolError", "Response", "auth", "batches", "channel_name", "features",
    "finish", "identify", "publish", "ready", "subscribe", "topic_name",
]  # fmt: skip

MAGIC = b"  V2"
NOP = b"NOP\n"
CLOSE = b"CLS\n"
HEARTBEAT = b"_heartbeat_"

MAX_FRAME = 8 * 1_024 * 1_024
"""Bytes of a frame; nsqd's default for a message is 1 MiB, so more is not NSQ."""
MAX_BATCH_BYTES = 512 * 1_024  # of an MPUB; nsqd's default limit is 5 MiB
MAX_BATCH_COUNT = 10_000

_NAME = re.compile(r"[.a-zA-Z0-9_-]+(#ephemeral)?")
_SIZE = Struct(">I")
_HEAD = Struct(">II")
_BODY = 34


class ProtocolError(BrokerError):
    """What arrived is not NSQ; the connection cannot be used any more."""


class Response(NamedTuple):
    """What nsqd answers to the oldest command that is answered, or a heartbeat."""

    data: bytes


class Failure(NamedTuple):
    """An error frame.

    Attributes:
        code: its first word, as ``E_BAD_TOPIC``.
    """

    code: str
    text: str

    @property
    def is_fatal(self) -> bool:
        """Whether nsqd closes the connection; the others answer no command that waits."""
        return self.code not in {"E_FIN_FAILED", "E_REQ_FAILED", "E_TOUCH_FAILED"}


class Incoming(NamedTuple):
    """A message: 16 bytes that name it, and what was published."""

    id: bytes
    body: bytes


Frame: TypeAlias = Response | Failure | Incoming


class Frames:
    """Cuts what arrived into frames, however it was cut on the way; it keeps at most one frame."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 4

    @property
    def is_empty(self) -> bool:
        """Whether no part of a frame waits for its rest."""
        return not self._have

    def feed(self, data: bytes) -> list[Frame]:
        """Take what arrived and return the frames that are complete.

        Raises:
            ProtocolError: a frame of an impossible size or kind.
        """
        self._have += len(data)
        if self._parts or self._have < self._need:
            # Joined only once it is enough: joining at every piece would take quadratic time.
            self._parts.append(data)
            if self._have < self._need:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        frames: list[Frame] = []
        start, end = 0, len(data)
        self._need = 4
        while end - start >= 4:
            size = _SIZE.unpack_from(data, start)[0]
            if not 4 <= size <= MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes is not NSQ's")
            if end - start < 4 + size:
                self._need = 4 + size
                break
            frames.append(_frame(data, start, start + 4 + size))
            start += 4 + size
        self._have = end - start
        if self._have:
            self._parts.append(data[start:])
        return frames


def _frame(data: bytes, start: int, end: int) -> Frame:
    kind = _HEAD.unpack_from(data, start)[1]
    if kind == 2:
        if end - start < _BODY:
            raise ProtocolError(f"a message frame of {end - start - 4} bytes has no room for its head")
        return Incoming(data[start + 18 : start + 34], data[start + 34 : end])
    if kind == 0:
        return Response(data[start + 8 : end])
    if kind == 1:
        text = data[start + 8 : end].decode(errors="replace")
        return Failure(text.partition(" ")[0], text)
    raise ProtocolError(f"a frame of type {kind} is not NSQ's")


def topic_name(name: str) -> bytes:
    """A topic's name as it may stand in a command.

    Raises:
        ConfigurationError: nsqd does not allow it; a name with a blank would be several words of a command.
    """
    return _name(name, "topic")


def channel_name(name: str) -> bytes:
    """A channel's name as it may stand in a command; raises as `topic_name`."""
    return _name(name, "channel")


def _name(name: str, what: str) -> bytes:
    if len(name) > 64 or _NAME.fullmatch(name) is None:
        raise ConfigurationError(
            f"{name!r} cannot be an NSQ {what}: 1 to 64 letters, digits, '.', '_' and '-' are allowed"
        )
    return name.encode()


def identify(options: dict[str, Any]) -> bytes:
    """IDENTIFY: what we are and want; the answer is JSON."""
    return b"IDENTIFY\n" + _sized(json.dumps(options, separators=(",", ":")).encode())


def features(answer: bytes) -> dict[str, Any]:
    """What nsqd says of itself to IDENTIFY; raises ProtocolError where it is no JSON object."""
    with suppress(ValueError, RecursionError):
        found = json.loads(answer)
        if isinstance(found, dict):
            return cast(dict[str, Any], found)
    raise ProtocolError("the answer to IDENTIFY is no object")


def auth(secret: str) -> bytes:
    """AUTH; the answer is JSON."""
    return b"AUTH\n" + _sized(secret.encode())


def subscribe(topic: bytes, channel: bytes) -> bytes:
    """SUB, answered by OK."""
    return b"SUB %b %b\n" % (topic, channel)


def ready(count: int) -> bytes:
    """RDY: how many messages may be unfinished at once; nsqd ≥ 0.3 does not count it down."""
    return b"RDY %d\n" % count


def finish(ids: Iterable[bytes]) -> bytes:
    """A FIN for each message; none is answered."""
    return b"".join([b"FIN %b\n" % id for id in ids])


def publish(topic: bytes, bodies: Sequence[bytes]) -> bytes:
    """PUB of one body, MPUB of several: all or none, answered by one OK."""
    if len(bodies) == 1:
        return b"PUB %b\n" % topic + _sized(bodies[0])
    sized = [part for body in bodies for part in (_SIZE.pack(len(body)), body)]
    return b"MPUB %b\n" % topic + _sized(_SIZE.pack(len(bodies)) + b"".join(sized))


def batches(bodies: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut bodies into parts that nsqd takes at once; a body above the limit stands alone."""
    start = size = 0
    for index, body in enumerate(bodies):
        if index > start and (size + len(body) > MAX_BATCH_BYTES or index - start == MAX_BATCH_COUNT):
            yield bodies[start:index]
            start, size = index, 0
        size += len(body) + 4
    if start < len(bodies):
        yield bodies[start:]


def _sized(data: bytes) -> bytes:
    return _SIZE.pack(len(data)) + data
