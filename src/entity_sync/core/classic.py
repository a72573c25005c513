"""The Go original's wire: lenient as Go's JSON decoder is, and silent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from entity_sync.core.messages import Invalid, Pass, Secret, Subscribe, Unsubscribe, Upward, Wanted

__all__ = ["decode"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_MISSING = object()
_Members = list[tuple[str, Any]]


def decode(frame: str | bytes) -> Upward:
    """Understand one client message as the Go original would.

    Member names match in any case, unknown ones are ignored, of equal ones the last wins
    (but a later null keeps the earlier value), lone surrogates become U+FFFD, text and binary
    are the same. What the original only logs comes back as `Invalid`.

    Args:
        frame: one whole message, text or binary.
    """
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    try:
        value = _decoder.decode(text.strip(" \t\r\n"))
    except (ValueError, RecursionError):
        return Invalid("bad_frame", "not JSON")
    if value is None:
        return Pass(_raw(frame))
    if not isinstance(value, _Object):
        return Invalid("bad_frame", "not an object")
    action = value.get("action")
    if action is _MISSING or action is None or action == "":
        return Pass(_raw(frame))
    if not isinstance(action, str):
        return Invalid("bad_frame", "action is not a string")
    return _act(action, value.get("body"))


def _act(action: str, body: object) -> Upward:
    if action in ("subscribe", "unsubscribe"):
        wanted = _wanted(body)
        if wanted is None:
            return Invalid("bad_body", f"the body of {action} is not an entity and an id")
        return Subscribe((wanted,)) if action == "subscribe" else Unsubscribe((wanted,))
    if action == "secret":
        if body is None:
            return Secret("")
        return (
            Secret(_clean(body))
            if isinstance(body, str)
            else Invalid("bad_body", "the secret is not a string")
        )
    return Invalid("unsupported", "unknown action")


def _wanted(body: object) -> Wanted | None:
    if body is None:
        return Wanted("", "")
    if not isinstance(body, _Object):
        return None
    entity, id = (_text(body.get(name)) for name in ("entity", "id"))
    return None if entity is None or id is None else Wanted(entity, id)


def _text(value: object) -> str | None:
    """Go's zero value where nothing was given, None where the type is wrong."""
    if value is _MISSING or value is None:
        return ""
    return _clean(value) if isinstance(value, str) else None


def _clean(value: str) -> str:
    return _SURROGATE.sub("�", value)


def _raw(frame: str | bytes) -> bytes:
    return frame.encode("utf-8", "replace") if isinstance(frame, str) else frame


class _Object:
    """A JSON object whose members are found as Go's decoder finds them."""

    def __init__(self, members: _Members) -> None:
        self._members: Mapping[str, object] = {}
        found: dict[str, object] = {}
        for name, value in members:
            folded = name.casefold()
            if value is not None or folded not in found:
                found[folded] = value
        self._members = found

    def get(self, name: str) -> object:
        return self._members.get(name, _MISSING)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_Object, parse_constant=_refuse_constant)
