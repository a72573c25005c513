"""The v2 wire: JSON text frames, one object or an array of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import UNSET

from entity_sync.core.frame import Frame
from entity_sync.core.messages import (
    Downward,
    Failure,
    Invalid,
    Pass,
    Ping,
    Ref,
    Resync,
    Secret,
    Subscribe,
    Unsubscribe,
    Upward,
    Wanted,
)  # fmt: skip

__all__ = ["SUBPROTOCOL", "decode", "encode", "frame", "select"]

SUBPROTOCOL = "entity-sync.v2"
_MAX_DEPTH = 32
_MAX_WRONG = 100  # messages and keys of a frame, each answered with many times its bytes

encode = msgspec.json.Encoder().encode


def frame(message: Downward) -> Frame:
    """Encode one downward message."""
    return Frame(encode(message))


def select(offered: Sequence[str]) -> str | None:
    """The subprotocol to answer with: ours, wherever it stands in the offer, or none (classic)."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def decode(data: str | bytes) -> list[Upward]:
    """Understand one frame: the messages in it, in order, each wrong one as `Invalid`.

    Args:
        data: ``str`` for a text frame, ``bytes`` for a binary one (which v2 refuses).
    """
    if isinstance(data, bytes):
        return [_bad_frame("binary frames are not part of this wire")]
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return [_bad_frame("not JSON")]
    if _too_deep(data):
        return [_bad_frame(f"nested deeper than {_MAX_DEPTH}")]
    return _bounded([_message(item) for item in value] if isinstance(value, list) else [_message(value)])


def _bounded(messages: list[Upward]) -> list[Upward]:
    """These, but what is wrong beyond a number together as one `Invalid` at the end."""
    left, more = _MAX_WRONG, 0
    kept: list[Upward] = []
    for message in messages:
        wrong = _wrong(message)
        if wrong > left:
            more += wrong - left
            if isinstance(message, Subscribe | Unsubscribe):
                kept.append(replace(message, refused=message.refused[:left]))
        else:
            kept.append(message)
        left = max(0, left - wrong)
    return [*kept, _bad_frame(f"{more} more messages and keys are wrong")] if more else messages


def _wrong(message: Upward) -> int:
    if isinstance(message, Subscribe | Unsubscribe):
        return len(message.refused)
    return isinstance(message, Invalid)


def _bad_frame(text: str, ref: Ref = UNSET) -> Invalid:
    return Invalid("bad_frame", text, ref)


_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return False
    depth = deepest = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest > _MAX_DEPTH


def _message(value: object) -> Upward:
    if not isinstance(value, dict):
        return _bad_frame("a message is an object")
    ref = value.get("ref", UNSET)
    if ref is not UNSET and (not isinstance(ref, str | int) or isinstance(ref, bool)):
        return _bad_frame("ref is neither a string nor an integer")
    action = value.get("action", UNSET)
    if action is UNSET:
        return Invalid("unsupported", "a message needs an action", ref)
    if not isinstance(action, str):
        return _bad_frame("action is not a string", ref)
    parse = _ACTIONS.get(action)
    if parse is None:
        return Invalid("unsupported", f"unknown action {action[:40]!r}", ref)
    return parse(value.get("body", UNSET), ref)


def _subscribe(body: object, ref: Ref) -> Upward:
    return _elements(Subscribe, _wanted, body, ref)


def _unsubscribe(body: object, ref: Ref) -> Upward:
    return _elements(Unsubscribe, _named, body, ref)


def _elements(
    kind: type[Subscribe | Unsubscribe],
    read: Callable[[dict[str, Any]], Wanted | Failure],
    body: object,
    ref: Ref,
) -> Upward:
    if not isinstance(body, dict | list):
        return Invalid("bad_body", "the body is a key or a list of keys", ref)
    wanted: list[Wanted] = []
    refused: list[Failure] = []
    for element in body if isinstance(body, list) else [body]:
        found = read(element) if isinstance(element, dict) else _NO_KEY
        (refused if isinstance(found, Failure) else wanted).append(found)  # type: ignore[arg-type]
    return kind(tuple(wanted), tuple(refused), ref)


_NO_KEY = Failure("bad_body", "a key is an object with entity and id", False)


def _named(element: dict[str, Any]) -> Wanted | Failure:
    entity, id = element.get("entity", UNSET), element.get("id", UNSET)
    if not isinstance(entity, str):
        return Failure("bad_body", "entity is not a string", False, entity, id)
    if not isinstance(id, str):
        return Failure("bad_id", "id is not a string", False, entity, id)
    return Wanted(entity, id)


def _wanted(element: dict[str, Any]) -> Wanted | Failure:
    named = _named(element)
    if isinstance(named, Failure):
        return named
    entity, id = named.entity, named.id
    version, causes = element.get("version"), element.get("causes", False)
    if version is not None and not isinstance(version, str):
        return Failure("bad_body", "version is not a string", False, entity, id)
    if not isinstance(causes, bool):
        return Failure("bad_body", "causes is not true or false", False, entity, id)
    return Wanted(entity, id, version, causes)


def _secret(body: object, ref: Ref) -> Upward:
    if body is None or isinstance(body, str):
        return Secret(body, ref)
    return Invalid("bad_body", "the secret is a string or null", ref)


def _resync(body: object, ref: Ref) -> Upward:
    if isinstance(body, Mapping):
        view, rev = body.get("view"), body.get("rev")
        if type(view) is int and type(rev) is int:
            return Resync(view, rev, ref)
    return Invalid("bad_body", "the body is a view and a rev, both integers", ref)


def _pass(body: object, ref: Ref) -> Upward:
    return Pass(b"null" if body is UNSET else encode(body), ref)


def _ping(_body: object, ref: Ref) -> Upward:
    return Ping(ref)


_ACTIONS: dict[str, Callable[[Any, Ref], Upward]] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "secret": _secret,
    "resync": _resync,
    "message": _pass,
    "ping": _ping,
}
