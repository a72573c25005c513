"""The values everything else speaks of: immutable, and importing nothing of ours."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
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
    "Named",
    "Origin",
    "Reads",
    "Receipt",
    "Row",
    "Source",
    "Tags",
    "ViewInfo",
    "Wire",
    "name_of",
]

Wire: TypeAlias = Literal["classic", "v2"]

Audience: TypeAlias = Hashable
"""The viewers that may share one load: a plain value (str, int, bool, UUID, None, a tuple of them)."""

EVERYONE: Audience = ()
"""The audience of an entity that depends on its id alone."""


Tags: TypeAlias = Mapping[str, frozenset[str]]
"""What a Change says of a key besides its name: tag → its values, old and new, as canonical text."""


class EntityKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """The identity of one entity: a pair, never a joined string, so no two keys collide.

    It unpacks, as ``entity, id = key``. The garbage collector need not visit any: a list has thousands.
    """

    entity: str
    id: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.entity, self.id))

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
        tags: narrows which live queries it concerns; None where nothing is said, so it concerns all.
        causes: the tokens of the notifies it stands for.
        revision: the application's own number of the row since then; None where nothing is said.
    """

    key: EntityKey
    origin: Origin | None = None
    tags: Tags | None = None
    causes: tuple[str, ...] = ()
    revision: int | None = None


class Named:
    """What has the name of a registered entity: the handle that registering it gave.

    Attributes:
        name: the entity.
    """

    name: str


def name_of(entity: str | Named) -> str:
    """The name of an entity that is given by its name or its handle."""
    return entity.name if isinstance(entity, Named) else entity


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a load's result that has a key of its own: it rides along with what was asked for.

    Unless told otherwise the view depends on it: a ``notify`` of this key loads the view again.

    Attributes:
        entity, id: whose row it is, by name or handle; the id as its entity spells ids.
        data: any value a loader may return; None says that there is no such row: none is shown, and the
            view depends on the key all the same.
        track: whether a change of this key concerns the view.
    """

    entity: str | Named
    id: Any
    data: Any
    track: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.entity, Named):
            object.__setattr__(self, "entity", self.entity.name)


class Reads:
    """Said by a loader: "I read all rows of this entity that have these tags".

    A ``notify`` of any row of the entity whose tags match, old or new, loads the view again, so rows
    that come, move in or leave are noticed. A tag that a notify leaves out matches.

    Attributes:
        entity: what was read, by name or handle.
        tags: tag → value, or a list of values of which any matches; none: every row.
    """

    __slots__ = ("entity", "tags")

    def __init__(self, entity: str | Named, /, **tags: Any) -> None:
        self.entity = name_of(entity)
        self.tags = tags

    def __repr__(self) -> str:
        tags = "".join(f", {name}={value!r}" for name, value in self.tags.items())
        return f"Reads({self.entity!r}{tags})"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a notify.

    Attributes:
        status: ``accepted`` when the broker has it, ``deferred`` when it is kept in a bounded
            set of this process and sent when the broker returns.
        token: names this notify: hand it to a client, whose ``reached(token)`` returns when it shows a
            state that covers it.
    """

    status: Literal["accepted", "deferred"]
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewInfo:
    """What a node tells of one view: a key, and those who share its loads.

    It is for operators, and not for everybody's eyes: ids may be personal, and clients choose them, so
    whoever shows one in HTML escapes it. It holds no row and no secret.

    Attributes:
        number: names the view in the frames of this node (``view``).
        entity, id: the key.
        audience: who shares it, as text: ``everyone``, or the value of ``per=`` as Python spells it, or
            ``principal`` and the first 16 digits of the SHA-256 of its key, which may be a secret.
        subscribers: how many subscriptions of connections.
        rev: counts the states that differed, 0 before the first result.
        version: of the newest result; None before the first.
        rows: how many rows that has.
        size: bytes of those rows as JSON, with their keys: about what a snapshot of it has.
        is_loading: a load of it runs, or waits for its turn or its retry.
        is_stale: its loads fail, so what its subscribers show may be old.
    """

    number: int
    entity: str
    id: str
    audience: str
    subscribers: int
    rev: int
    version: str | None
    rows: int
    size: int
    is_loading: bool
    is_stale: bool


def _empty() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What the WebSocket handshake told about a connection; handed to ``authenticate``.

    Attributes:
        wire: the wire the client chose.
        path: the request's path, without the query.
        query: the raw query string, which may hold a token: never logged.
        headers: the request's headers by lower-cased name; the last of equal names wins.
        cookies: the request's cookies by name.
        peer: the remote address as the server saw it, or None where the server does not tell.
    """

    wire: Wire
    path: str = "/"
    query: str = field(default="", repr=False)
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
