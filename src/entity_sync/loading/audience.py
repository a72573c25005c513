"""Who may share one load: a principal's key, or what ``per=`` made, as plain values that cannot pretend."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any
from uuid import UUID

from entity_sync.errors import AccessDenied, placed
from entity_sync.loading.exact import exact_text, exact_uuid
from entity_sync.model import Audience

__all__ = ["made"]

_HIDDEN = "(its text is logged at DEBUG)"
_MAX_DEPTH = 8
_MAX_BITS = 128  # as many as a UUID has; one of thousands of digits has no text


def made(entity: str, per: Callable[[Any], object], principal: object) -> Audience:
    """What the ``per=`` of an entity makes of a principal.

    Raises:
        AccessDenied: it raised, no matter what, or made something that is no plain value.
    """
    try:
        value = per(principal)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise AccessDenied(f"entity {entity!r}: per= raised {placed(error)} {_HIDDEN}") from error
    try:
        return _plain(value)
    except AccessDenied as error:
        raise AccessDenied(f"entity {entity!r}: {error}") from None
    except Exception as error:  # a proxy asks what it stands for when it is looked at
        kind = type(value).__name__
        raise AccessDenied(
            f"entity {entity!r}: per= made a {kind}, which raised {placed(error)} {_HIDDEN}"
        ) from error


def _plain(value: object, depth: int = 0) -> Audience:
    """The value made of exact built-in types and UUIDs, which no class of the application can mask.

    Raises:
        AccessDenied: it is something else, for example an object, a member of an Enum, or a huge int.
    """
    if isinstance(value, Enum):
        raise AccessDenied(f"per= made a {type(value).__name__}, an Enum: return its value")
    if value is None or type(value) in (str, bool, UUID):
        return value
    if type(value) is int and value.bit_length() <= _MAX_BITS:
        return value
    if isinstance(value, str):
        return exact_text(value)
    if isinstance(value, UUID):
        return exact_uuid(value)
    if isinstance(value, tuple):
        if depth == _MAX_DEPTH:
            raise AccessDenied(f"per= made a tuple that is nested deeper than {_MAX_DEPTH}")
        return tuple(_plain(member, depth + 1) for member in tuple.__iter__(value))
    kind = "larger int" if type(value) is int else type(value).__name__
    raise AccessDenied(f"per= made a {kind}, not a str, int of 128 bits, bool, UUID, None or tuple of them")
