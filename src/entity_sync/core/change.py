"""A Change as it travels through a broker: compact JSON, ``entity`` and ``id`` first."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from entity_sync.model import Change, EntityKey, Origin, Source

__all__ = ["decode", "encode"]


_Name: TypeAlias = Annotated[str, Meta(max_length=64)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]


class _Body(msgspec.Struct, omit_defaults=True):
    """A Go node reads the first two members and ignores the rest."""

    entity: str
    id: str
    publisher: _Name | None = None
    epoch: _Name | None = None
    seq: _Count | None = None
    since: _Count | None = None


_decoder = msgspec.json.Decoder(_Body)
_encode = msgspec.json.Encoder().encode


def encode(change: Change) -> bytes:
    """The bytes of one broker message."""
    (entity, id), origin = change.key, change.origin
    if origin is None:
        return _encode(_Body(entity, id))
    return _encode(_Body(entity, id, *origin.source, origin.seq, origin.since))


def decode(payload: bytes) -> Change | None:
    """The Change in a broker message, or None where it is not one: counted, dropped, never raised."""
    try:
        body = _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return _foreign(payload)
    key = EntityKey(body.entity, body.id)
    if body.publisher is None or body.epoch is None or body.seq is None or body.seq < 1:
        return Change(key)
    return Change(key, Origin(Source(body.publisher, body.epoch), body.seq, body.since))


def _foreign(payload: bytes) -> Change | None:
    """What a Go node reads: two strings, named in any case, whatever else is there."""
    try:
        body = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    found = {name.casefold(): value for name, value in body.items()}
    entity, id = found.get("entity"), found.get("id")
    return Change(EntityKey(entity, id)) if isinstance(entity, str) and isinstance(id, str) else None
