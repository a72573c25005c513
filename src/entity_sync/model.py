"""The values everything else speaks of: immutable, and importing nothing of ours."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

__all__ = [
    "EVERYONE",
    "Audience",
    "Change",
    "ClientMessage",
    "ConnectionInfo",
    "EntityKey",
    "Origin",
    "Receipt",
    "Source",
    "Wire",
]

Wire: TypeAlias = Literal["classic", "v2"]

Audience: TypeAlias = Hashable
"""The viewers that may share one load: a plain value (str, int, bool, None, a tuple of them)."""

EVERYONE: Audience = ()
"""The audience of an entity that depends on its id alone."""


class EntityKey(NamedTuple):
    """The identity of one entity: a pair, never a joined string, so no two keys collide."""

    entity: str
    id: str

    def __str__(self) -> str:
        shown = self.id if len(self.id) <= 64 else self.id[:61] + "..."
        return f"{self.entity}/{shown!r}"


class Source(NamedTuple):
    """A publisher, and one life of it."""

    publisher: str
    epoch: str


class Origin(NamedTuple):
    """Where a message came from, and its place among those of its source on one topic.

    Attributes:
        source: who published it.
        seq: its number on this topic, from 1.
        since: milliseconds between its predecessor and it, as the publisher handed them over; None for
            the first. It tells whoever hears of this source for the first time whether the predecessor
            matters to him.
    """

    source: Source
    seq: int
    since: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The fact that a key changed, as it travels between nodes: never data.

    Attributes:
        key: what changed.
        origin: who said so, or None where a classic node (which sends no origin) did.
    """

    key: EntityKey
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a notify.

    Attributes:
        status: ``accepted`` when the broker has it, ``deferred`` when it is kept in a bounded
            set of this process and sent when the broker returns.
        token: names this notify; equal tokens mean the same notify.
    """

    status: Literal["accepted", "deferred"]
    token: str


def _empty() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What the WebSocket handshake told about a connection; handed to ``authenticate``.

    Attributes:
        wire: the wire the client chose.
        path: the request's path, without the query.
        query: the raw query string, never logged.
        headers: the request's headers by lower-cased name; the last of equal names wins.
        cookies: the request's cookies by name.
        peer: the remote address as the server saw it, or None where the server does not tell.
    """

    wire: Wire
    path: str = "/"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=_empty, repr=False)
    cookies: Mapping[str, str] = field(default_factory=_empty, repr=False)
    peer: str | None = None


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """A message that is the application's, as ``on_message`` gets it.

    Attributes:
        data: JSON text: the body of a v2 message, the whole frame of a classic one.
        principal: who sent it: what ``authenticate`` returned, or the raw secret without one.
        connection: what the handshake told about its connection.
    """

    data: bytes
    principal: Any = field(repr=False)
    connection: ConnectionInfo

    def json(self) -> Any:
        """The decoded `data`.

        Raises:
            ValueError: it is not JSON (a classic client may send such text).
        """
        return msgspec.json.decode(self.data)
