"""Every message of the v2 wire, both directions, and of the classic wire upward.

Upward messages are what the codecs of both wires make of a frame, so the session knows one set
of words. Downward ones encode themselves: the ``event`` member is the class's tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from entity_sync.core.wirerows import Patch, Put, WireKey, WireRow

__all__ = [
    "Ack",
    "Beat",
    "Current",
    "Delta",
    "Denied",
    "Downward",
    "Error",
    "Expiring",
    "Failure",
    "Fresh",
    "Goodbye",
    "Invalid",
    "Limits",
    "Pass",
    "Ping",
    "Pong",
    "Ref",
    "Reply",
    "Resync",
    "Secret",
    "Snapshot",
    "Stale",
    "Subscribe",
    "Unsubscribe",
    "Upward",
    "Wanted",
    "Welcome",
]

Ref: TypeAlias = str | int | UnsetType
"""A client's own mark on a message: echoed as sent, absent where none was given."""


# Upward


@dataclass(frozen=True, slots=True)
class Wanted:
    """One element of a subscribe or unsubscribe, of the right shape but not yet looked up."""

    entity: str
    id: str
    version: str | None = None
    causes: bool = False


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Wants these keys; ``refused`` holds the elements whose shape was wrong."""

    wanted: tuple[Wanted, ...]
    refused: tuple[Failure, ...] = ()
    ref: Ref = UNSET


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Wants these keys no longer."""

    wanted: tuple[Wanted, ...]
    refused: tuple[Failure, ...] = ()
    ref: Ref = UNSET


@dataclass(frozen=True, slots=True)
class Secret:
    """Says who the client is; ``None`` and absent mean the same to ``authenticate``."""

    value: str | None
    ref: Ref = UNSET

    def __repr__(self) -> str:
        return f"Secret(value=***, ref={self.ref!r})"


@dataclass(frozen=True, slots=True)
class Resync:
    """Asks for a view's newest state without a load."""

    view: int
    rev: int
    ref: Ref = UNSET


@dataclass(frozen=True, slots=True)
class Pass:
    """A message that is the application's: the JSON text of its body, or on classic all of it."""

    data: bytes
    ref: Ref = UNSET


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a pong."""

    ref: Ref = UNSET


@dataclass(frozen=True, slots=True)
class Invalid:
    """A frame or message that could not be understood: an error on v2, silence on classic."""

    code: str
    text: str
    ref: Ref = UNSET


Upward: TypeAlias = Subscribe | Unsubscribe | Secret | Resync | Pass | Ping | Invalid


# Downward


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why one element of a list was refused; echoes entity and id as they were sent."""

    code: str
    text: str
    retryable: bool
    entity: Any = UNSET
    id: Any = UNSET


class Limits(msgspec.Struct, frozen=True, rename={"incoming": "in"}):
    """The bounds a client must know: bytes of a message, subscriptions, bytes of a view."""

    incoming: int
    subs: int
    view: int


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="event", tag=str.lower):
    """Base of the downward messages."""


class Welcome(_Event, frozen=True):
    """The first frame of every v2 connection."""

    node: str
    beat_ms: int
    stale_ms: int
    limits: Limits
    features: tuple[str, ...]


class Ack(_Event, frozen=True):
    """A subscribe, unsubscribe, secret or message was handled."""

    ref: Ref = UNSET
    failed: tuple[Failure, ...] = ()


class Snapshot(_Event, frozen=True):
    """A view's rows, whole."""

    view: int
    entity: str
    id: str
    rev: int
    version: str
    rows: tuple[WireRow, ...]
    gone: bool


class Delta(_Event, frozen=True):
    """The difference between two states of a view, applied in this order: drop, patch, put, order."""

    view: int
    base: int
    rev: int
    version: str
    drop: tuple[WireKey, ...] = ()
    patch: tuple[Patch, ...] = ()
    put: tuple[Put, ...] = ()
    order: tuple[WireKey, ...] = ()


class Current(_Event, frozen=True):
    """The client already holds this version: no body."""

    view: int
    entity: str
    id: str
    rev: int
    version: str
    causes: tuple[str, ...] = ()


class Denied(_Event, frozen=True):
    """The principal may not see this key: drop your copy."""

    entity: str
    id: str
    code: str


class Error(_Event, frozen=True):
    """A request or a key could not be served."""

    code: str
    text: str
    retryable: bool
    ref: Ref = UNSET
    entity: str | UnsetType = UNSET
    id: str | UnsetType = UNSET


class Stale(_Event, frozen=True):
    """What is shown may be old: of one view, or without a view of the whole connection.

    Attributes:
        reason: ``load`` of a view; ``broker`` of a connection, also where states are withheld because the
            application has not said who the client is or what it may see.
    """

    reason: Literal["broker", "load"]
    age_ms: int
    entity: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    view: int | UnsetType = UNSET


class Fresh(_Event, frozen=True):
    """The end of a `Stale`."""

    view: int | UnsetType = UNSET


class Beat(_Event, frozen=True):
    """Sign of life, certifying silence: the age of the confirmed broker link."""

    link_ms: int


class Pong(_Event, frozen=True):
    """Answer to a ping."""

    ref: Ref = UNSET


class Reply(_Event, frozen=True, tag="message"):
    """What the application answered to a passed message."""

    body: msgspec.Raw
    ref: Ref = UNSET


class Expiring(_Event, frozen=True):
    """The principal ends in so many milliseconds unless a new secret comes."""

    in_ms: int


class Goodbye(_Event, frozen=True):
    """The server is about to close; come back after this many milliseconds."""

    code: str
    retry_after_ms: int


Downward: TypeAlias = (
    Welcome
    | Ack
    | Snapshot
    | Delta
    | Current
    | Denied
    | Error
    | Stale
    | Fresh
    | Beat
    | Pong
    | Reply
    | Expiring
    | Goodbye
)
