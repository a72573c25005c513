"""The quick way to canonical JSON, for values in which a glance shows nothing that needs a closer look."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from math import inf
from operator import attrgetter
from types import MemberDescriptorType
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from entity_sync.core.canonical import MAX_INTEGER
from entity_sync.loading.kinds import dumped_of, has_fields, is_mapped, is_pydantic, names_of

__all__ = ["Kinds", "at_a_glance"]

Kinds: TypeAlias = dict[type, Callable[[Any], Any] | None]
"""What makes of an object that which msgspec encodes as it is to be sent, by its type; None where the type
itself needs a closer look."""

_encoder = msgspec.json.Encoder(order="sorted")
_TEXT = frozenset({str})
_FORMED = frozenset({str, bool, type(None), datetime, date, time, timedelta, UUID})
_NO_ENUM = (
    dict, list, tuple, set, frozenset, deque, bytes, bytearray, float, Decimal, UUID, date, time, timedelta,
)  # fmt: skip
_BUILT_IN = (*_NO_ENUM, str, int, Enum)
_MAX_DEPTH = 8


class _CloserLook(Exception):
    """Only a closer look can tell."""


def at_a_glance(value: Any, kinds: Kinds) -> bytes | None:
    """Canonical JSON of a dict or of an object with members; None where only a closer look can tell.

    Args:
        kinds: what is known of the types of one load's values.
    """
    kind = type(value)
    try:
        if kind is dict:
            return _encoder.encode(_plain(value))
        if kind not in kinds:
            kinds[kind] = _opener(kind)
        opened = kinds[kind]
        return None if opened is None else _encoder.encode(opened(value))
    except Exception:  # noqa: BLE001 - a member that is missing, or the application's code: the closer look tells
        return None


def _opener(kind: Any) -> Callable[[Any], Any] | None:
    if issubclass(kind, _BUILT_IN) or is_mapped(kind):
        return None
    if is_pydantic(kind):
        return _opener_of_pydantic(kind)
    names = names_of(kind)
    if len(names) < 2:  # of one name attrgetter gives no tuple
        return None
    get = attrgetter(*names)
    if has_fields(kind):  # msgspec would take all that is in its __dict__
        return lambda value: _plain(dict(zip(names, get(value), strict=True)))
    if not issubclass(kind, msgspec.Struct) or not _is_itself(kind, names):
        return None

    def checked(value: Any) -> Any:
        _check(get(value))
        return value

    return checked


def _opener_of_pydantic(kind: Any) -> Callable[[Any], Any] | None:
    names = dumped_of(kind)
    if not hasattr(kind, "model_dump") or len(names) < 2:
        return None
    return partial(_dumped, get=attrgetter(*names))


def _is_itself(kind: Any, names: Sequence[str]) -> bool:
    """Whether what a Struct gives as its members is what msgspec finds in it."""
    base: Any = msgspec.Struct
    is_usual = kind.__getattribute__ is base.__getattribute__ and kind.__copy__ is base.__copy__
    return is_usual and all(type(getattr(kind, name)) is MemberDescriptorType for name in names)


def _dumped(value: Any, get: Callable[[Any], Iterable[Any]]) -> dict[str, Any]:
    """What pydantic makes of an object; neither it nor a serializer of it gives a set, which has no order."""
    _check(get(value))
    if value.__pydantic_extra__:
        _check(value.__pydantic_extra__.values())
    dumped: dict[str, Any] = _plain(value.model_dump(mode="json", by_alias=True))
    _plain(value.model_dump(by_alias=True))
    return dumped


def _plain(value: Any, depth: int = 0) -> Any:
    if type(value) is not dict or not _TEXT.issuperset(map(type, value)):
        raise _CloserLook
    _check(value.values(), depth)
    return value


def _check(found: Iterable[Any], depth: int = 0) -> None:
    """JSON and JavaScript carry each of these unchanged, and none holds anything but such."""
    for member in found:
        kind = type(member)
        if kind in _FORMED:
            continue
        if kind is int:
            is_plain = -MAX_INTEGER <= member <= MAX_INTEGER
        elif kind is float:
            is_plain = -inf < member < inf
        elif kind is Decimal:
            is_plain = member.is_finite()
        elif kind is list and depth < _MAX_DEPTH:
            is_plain = True
            _check(member, depth + 1)
        elif kind is dict and depth < _MAX_DEPTH:
            is_plain = True
            _plain(member, depth + 1)
        else:
            is_plain = issubclass(kind, Enum) and _is_plain(member, kind)
        if not is_plain:
            raise _CloserLook


def _is_plain(member: Any, kind: type[Enum]) -> bool:
    """Whether a member of an enum is the text or number that it was given, whatever else it is."""
    value = member._value_
    if issubclass(kind, _NO_ENUM) or is_mapped(kind):
        return False
    if type(value) is int and not issubclass(kind, str):
        is_value = not issubclass(kind, int) or int.__eq__(member, value) is True
        return is_value and -MAX_INTEGER <= value <= MAX_INTEGER
    if type(value) is str and not issubclass(kind, int):
        return not issubclass(kind, str) or str.__eq__(member, value) is True
    return False
