"""The server's messages as a client reads them: only the members it needs, all else ignored.

The server's own classes say exactly what it sends; these say the least a client must find, so
that a newer server may send more.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from entity_sync.errors import EntitySyncError

__all__ = [
    "Ack",
    "Current",
    "Delta",
    "Denied",
    "Error",
    "Expiring",
    "Failure",
    "Fresh",
    "Goodbye",
    "Incoming",
    "Patch",
    "Put",
    "Reply",
    "Snapshot",
    "Stale",
    "Unreadable",
    "Welcome",
    "WireRow",
    "decode",
]


class Unreadable(EntitySyncError):
    """A frame that is not this wire: whatever it meant is lost, and so is trust in the connection."""


class _Event(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower):
    """Base of the messages."""


class Limits(msgspec.Struct, frozen=True, rename={"incoming": "in"}):
    """The bounds of what a client may send, in bytes of a frame."""

    incoming: int = 65_536


class Welcome(_Event, frozen=True):
    """The first frame: after how much silence a client is stale."""

    stale_ms: int
    limits: Limits = Limits()


class Failure(msgspec.Struct, frozen=True):
    """Why one element of a list was refused; echoes entity and id as they were sent."""

    code: str
    text: str = ""
    retryable: bool = False
    entity: str | None = None
    id: str | None = None


class Ack(_Event, frozen=True):
    """A request was handled, but for these elements."""

    ref: str | int | None = None
    failed: tuple[Failure, ...] = ()


class Error(_Event, frozen=True):
    """A request or a key could not be served."""

    code: str
    text: str = ""
    retryable: bool = False
    ref: str | int | None = None
    entity: str | None = None
    id: str | None = None


class WireRow(msgspec.Struct, frozen=True):
    """One row; without entity and id it is the view's own."""

    data: Any
    entity: str | None = None
    id: str | None = None


class WireKey(msgspec.Struct, frozen=True):
    """A row's key; without members it is the view's own."""

    entity: str | None = None
    id: str | None = None


class Patch(WireKey, frozen=True, rename={"set_": "set"}):
    """Top-level members of a held row to be set, and those to be removed."""

    set_: dict[str, Any] = {}
    unset: tuple[str, ...] = ()


class Put(msgspec.Struct, frozen=True):
    """A row whole: inserted, or replaced, and moved if ``at`` is given."""

    data: Any
    entity: str | None = None
    id: str | None = None
    at: int | None = None


class Snapshot(_Event, frozen=True):
    """A view's rows, whole."""

    view: int
    entity: str
    id: str
    rev: int
    version: str
    rows: tuple[WireRow, ...]
    gone: bool


class Current(_Event, frozen=True):
    """The client holds this version: no body."""

    view: int
    entity: str
    id: str
    rev: int
    version: str
    causes: tuple[str, ...] = ()


class Delta(_Event, frozen=True):
    """The difference between the state of rev ``base`` and that of ``rev``."""

    view: int
    base: int
    rev: int
    version: str
    drop: tuple[WireKey, ...] = ()
    patch: tuple[Patch, ...] = ()
    put: tuple[Put, ...] = ()
    order: tuple[WireKey, ...] = ()


class Denied(_Event, frozen=True):
    """The principal may not see this key: drop the copy."""

    entity: str
    id: str


class Stale(_Event, frozen=True):
    """What is shown may be old: of one key, or without one of the whole connection."""

    entity: str | None = None
    id: str | None = None
    view: int | None = None


class Fresh(_Event, frozen=True):
    """The end of a `Stale`."""

    view: int | None = None


class Reply(_Event, frozen=True, tag="message"):
    """What the application answered."""

    body: Any = None
    ref: str | int | None = None


class Expiring(_Event, frozen=True):
    """The secret's time is nearly over."""


class Goodbye(_Event, frozen=True):
    """The server is about to close: come back after this many milliseconds."""

    retry_after_ms: int = 0


Incoming: TypeAlias = (
    Welcome | Ack | Error | Snapshot | Current | Delta | Denied | Stale | Fresh | Reply | Expiring | Goodbye
)


class _Named(msgspec.Struct, frozen=True):
    event: Any = None


_KINDS: tuple[type[Incoming], ...] = (
    Welcome, Ack, Error, Snapshot, Current, Delta, Denied, Stale, Fresh, Reply, Expiring, Goodbye,
)  # fmt: skip
_DECODERS = {kind.__struct_config__.tag: msgspec.json.Decoder(kind) for kind in _KINDS}
_name = msgspec.json.Decoder(_Named).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def decode(frame: str | bytes) -> list[Incoming]:
    """The messages of one frame that a client heeds, in order.

    Raises:
        Unreadable: the frame is no JSON, or an event this client knows has not its shape.
    """
    if isinstance(frame, bytes):
        raise Unreadable("the server sent a binary frame")
    try:
        parts = _elements(frame) if frame.lstrip(" \t\r\n").startswith("[") else [frame]
        return [message for part in parts if (message := _message(part)) is not None]
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(f"the server sent what cannot be read: {error}") from None


def _message(part: msgspec.Raw | str) -> Incoming | None:
    event = _name(part).event
    decoder = _DECODERS.get(event) if isinstance(event, str) else None
    return decoder.decode(part) if decoder is not None else None
