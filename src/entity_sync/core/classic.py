"""The Go original's wire: lenient as Go's JSON decoder is, and silent."""

from __future__ import annotations

import json
import re
from typing import Any

from entity_sync.core.messages import Invalid, Pass, Secret, Subscribe, Unsubscribe, Upward, Wanted

__all__ = ["decode"]

_SURROGATE = re.compile("[\ud800-\udfff]")
_MISSING = object()
_Members = list[tuple[str, Any]]


def decode(frame: str | bytes) -> Upward:
    """Understand one client message as the Go original would.

    Member names match in any case, unknown ones are ignored, of equal ones the last wins (but a
    later null keeps the earlier value, and a wrong type is not made good by a later right one),
    what is no character becomes U+FFFD, text and binary are the same. What the original only
    logs comes back as `Invalid`.

    Args:
        frame: one whole message, text or binary.
    """
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "surrogateescape")
    try:
        value = _decoder.decode(text.strip(" \t\r\n"))
    except (ValueError, RecursionError):
        return Invalid("bad_frame", "not JSON")
    if value is None:
        return Pass(_raw(frame))
    if not isinstance(value, _Object):
        return Invalid("bad_frame", "not an object")
    action = value.text("action")
    if action is None:
        return Invalid("bad_frame", "action is not a string")
    return _act(action, value.last("body")) if action else Pass(_raw(frame))


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
    entity, id = body.text("entity"), body.text("id")
    return None if entity is None or id is None else Wanted(entity, id)


def _clean(value: str) -> str:
    return _SURROGATE.sub("�", value)


def _raw(frame: str | bytes) -> bytes:
    return frame.encode("utf-8", "replace") if isinstance(frame, str) else frame


class _Object:
    """A JSON object whose members are found as Go's decoder finds them."""

    def __init__(self, members: _Members) -> None:
        self._members = [(name.casefold(), value) for name, value in members]

    def last(self, name: str) -> object:
        """A member of any type: the last that is not null, null where there is only that."""
        found = [value for folded, value in self._members if folded == name]
        given = [value for value in found if value is not None]
        if given:
            return given[-1]
        return None if found else _MISSING

    def text(self, name: str) -> str | None:
        """A member that Go makes a string: its zero value where there is none, None for a wrong type."""
        found = [value for folded, value in self._members if folded == name and value is not None]
        if not all(isinstance(value, str) for value in found):
            return None
        return _clean(found[-1]) if found else ""


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# No number means anything here, and an int of thousands of digits would be refused.
_decoder = json.JSONDecoder(object_pairs_hook=_Object, parse_constant=_refuse_constant, parse_int=float)
