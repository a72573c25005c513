"""A Change as it travels through a broker: compact JSON, ``entity`` and ``id`` first."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from entity_sync.core.receipts import MAX_CAUSES
from entity_sync.core.tags import MAX_TAGS, MAX_VALUES
from entity_sync.model import Change, EntityKey, Origin, Source

__all__ = ["decode", "encode"]

_MAX_BYTES = 3_072  # with what a signature adds, a message stays within an envelope

_Name: TypeAlias = Annotated[str, Meta(max_length=64)]
_Count: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]
_Values: TypeAlias = Annotated[list[str], Meta(max_length=MAX_VALUES)]


class _Body(msgspec.Struct, omit_defaults=True):
    """A Go node reads the first two members and ignores the rest."""

    entity: str
    id: str
    publisher: _Name | None = None
    epoch: _Name | None = None
    seq: _Count | None = None
    since: _Count | None = None
    tags: Annotated[dict[str, _Values], Meta(max_length=MAX_TAGS)] | None = None
    causes: Annotated[tuple[_Name, ...], Meta(max_length=MAX_CAUSES)] = ()
    revision: _Count | None = None


_decoder = msgspec.json.Decoder(_Body)
_encode = msgspec.json.Encoder().encode


def encode(change: Change) -> bytes:
    """The bytes of one broker message; tags that are too long are left out, so that it concerns all."""
    (entity, id), origin = change.key, change.origin
    body = _Body(entity, id)
    if origin is not None:
        (body.publisher, body.epoch), body.seq, body.since = origin
    if change.tags is not None:
        body.tags = {name: sorted(values) for name, values in change.tags.items()}
    body.causes, body.revision = change.causes, change.revision
    payload = _encode(body)
    if len(payload) > _MAX_BYTES and body.tags is not None:
        body.tags = None
        payload = _encode(body)
    return payload


def decode(payload: bytes) -> Change | None:
    """The Change in a broker message, or None where it is not one: counted, dropped, never raised."""
    try:
        body = _decoder.decode(payload)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return _foreign(payload)
    origin = None
    if body.publisher is not None and body.epoch is not None and body.seq is not None and body.seq >= 1:
        origin = Origin(Source(body.publisher, body.epoch), body.seq, body.since)
    tags = None if body.tags is None else {name: frozenset(values) for name, values in body.tags.items()}
    return Change(EntityKey(body.entity, body.id), origin, tags, body.causes, body.revision)


def _foreign(payload: bytes) -> Change | None:
    """What a Go node reads: two strings, named in any case, whatever else is there."""
    try:
        body = msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
    found = {name.casefold(): value for name, value in body.items()}
    entity, id = found.get("entity"), found.get("id")
    return Change(EntityKey(entity, id)) if isinstance(entity, str) and isinstance(id, str) else None
