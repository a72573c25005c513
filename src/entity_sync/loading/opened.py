"""A value → what of it may be sent, and no more, in a form that msgspec can encode."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from typing import Any

import msgspec

from entity_sync.errors import LoadFailed, described
from entity_sync.loading.kinds import a, has_fields, is_mapped, is_pydantic, members
from entity_sync.loading.sets import in_order, ordered

__all__ = ["MAX_DEPTH", "dump_raised", "encodable", "field", "refuse_mapped", "steps"]

MAX_DEPTH = 64
_SEVERAL = (list, tuple, set, frozenset, deque)
_TEXT = frozenset({str})
_PLAIN = frozenset({str, int, float, bool, type(None)})


def encodable(value: object) -> Any:
    """What is sent of a value, in built-in types.

    Raises:
        LoadFailed: part of it must not be sent, or serializing it failed, naming the field.
        Exception: it has no JSON form.
    """
    return _encoded(_opened(value))


def refuse_mapped(value: object, path: str = "") -> None:
    """An object of an ORM says nothing of what may be seen of it.

    Raises:
        LoadFailed: it is one.
    """
    if is_mapped(type(value)):
        name = type(value).__name__
        raise LoadFailed(
            f"{field(path)} is {a(type(value))} of an ORM, with all its columns: return what may be seen of "
            f"it, or name a model of that in the loader's return annotation: Annotated[{name}, {name}Out]"
        )


def field(path: str) -> str:
    """How a text names a place in the value."""
    return f"field {path.lstrip('.')!r}" if path else "the value"


def dump_raised(value: object, error: BaseException) -> str:
    """What a text says of an object that pydantic could not serialize."""
    dump = "model_dump" if hasattr(value, "model_dump") else "serialization"
    return f"is {a(type(value))}: its {dump} raised {described(error)}"


def steps(value: object) -> Iterable[tuple[str, object]]:
    """What stands in a value, with the step of the path that leads to it."""
    if isinstance(value, dict):
        return ((f".{name}", member) for name, member in value.items())
    if isinstance(value, _SEVERAL):
        return ((f"[{index}]", member) for index, member in enumerate(value))
    return ((f".{name}", member) for name, member in members(value))


def _opened(value: Any, path: str = "", depth: int = 0) -> Any:
    """The value, with what it declares in place of each object that msgspec would encode otherwise."""
    _refuse(value, path, depth)
    if isinstance(value, dict):
        return _within(value.items(), path, depth)
    if isinstance(value, _SEVERAL):
        found = [
            one if type(one) in _PLAIN else _opened(one, f"{path}[{index}]", depth + 1)
            for index, one in enumerate(value)
        ]
        return in_order(map(_encoded, found)) if isinstance(value, set | frozenset) else found
    return value if isinstance(value, Enum) else _declared(value, path, depth)


def _refuse(value: Any, path: str, depth: int) -> None:
    """What would be sent in another form than was meant, or never."""
    if depth > MAX_DEPTH:
        raise LoadFailed(f"{field(path)} is nested deeper than {MAX_DEPTH}")
    refuse_mapped(value, path)
    if isinstance(value, Decimal) and not value.is_finite():
        raise LoadFailed(f"{field(path)} is {value}, which JSON cannot hold")
    if isinstance(value, dict) and {*map(type, value)} - _TEXT:
        _refuse_equal_names(value, path)


def _refuse_within(value: Any, path: str, depth: int) -> None:
    """As `_refuse`, of all that pydantic is about to serialize."""
    for step, member in steps(value):
        if type(member) not in _PLAIN:
            _refuse(member, path + step, depth + 1)
            _refuse_within(member, path + step, depth + 1)


def _within(found: Iterable[tuple[Any, Any]], path: str, depth: int) -> dict[Any, Any]:
    return {
        name: member if type(member) in _PLAIN else _opened(member, f"{path}.{name}", depth + 1)
        for name, member in found
    }


def _declared(value: Any, path: str, depth: int) -> Any:
    if is_pydantic(type(value)):
        _refuse_within(value, path, depth)
        try:
            return _serialized(value)
        except Exception as error:
            if (reason := _raised_by_application(error)) is None:
                raise
            raise LoadFailed(f"{field(path)} {dump_raised(value, reason)}", retryable=True) from reason
    found = _within(members(value), path, depth)
    if has_fields(type(value)):  # msgspec would take all that is in its __dict__
        return found
    if not isinstance(value, msgspec.Struct):
        return value
    copied: Any = msgspec.Struct
    whole = copied.__copy__(value)  # and not what its class makes of that
    for one in msgspec.structs.fields(value):
        if one.name in found and not _is_default(getattr(value, one.name), one.default):
            msgspec.structs.force_setattr(whole, one.name, found[one.name])
    return whole


def _is_default(member: Any, default: Any) -> bool:
    """Whether ``omit_defaults`` may leave it out: msgspec knows it by its identity, or as empty."""
    return member is default or (isinstance(member, set) and not member)


def _serialized(value: Any) -> Any:
    kind: Any = type(value)
    is_model = hasattr(kind, "model_dump")
    dump = value.model_dump if is_model else partial(_adapter(kind).dump_python, value)
    dumped = dump(mode="json", by_alias=True)  # as FastAPI answers
    try:
        return ordered(dumped, dump(by_alias=True))
    except TypeError:  # a set of models would be one of dicts
        return ordered(dumped, value)


def _raised_by_application(error: Exception) -> BaseException | None:
    """What a serializer or property raised, which may be over soon; None where pydantic refuses the value."""
    if type(error).__name__ == "PydanticSerializationError":
        return error.__cause__
    return None if isinstance(error, UnicodeError) else error


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # it is there: this is a dataclass of it

    return TypeAdapter(kind)


def _encoded(value: object) -> Any:
    return value if type(value) in _PLAIN else msgspec.to_builtins(value, str_keys=True)


def _refuse_equal_names(value: dict[Any, Any], path: str) -> None:
    seen: dict[str, object] = {}
    for name in value:
        try:
            (text,) = msgspec.to_builtins({name: 0}, str_keys=True)
        except (msgspec.MsgspecError, TypeError):
            raise LoadFailed(
                f"{field(path)} has a name that is {a(type(name))}: JSON names are texts"
            ) from None
        if text in seen:
            kinds = f"{a(type(seen[text]))} and {a(type(name))}"
            raise LoadFailed(f"{field(path)} has two names, {kinds}, that are one in JSON")
        seen[text] = name
