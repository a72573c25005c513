"""One value that a loader returned → canonical JSON."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from entity_sync.core.canonical import canonical
from entity_sync.core.loaded import LoadedRow
from entity_sync.errors import LoadFailed
from entity_sync.loading.kinds import a, fields, hides, is_mapped, is_pydantic, is_supported
from entity_sync.loading.sets import ordered

__all__ = ["loaded_row"]

_MAX_DEPTH = 64
_TEXT = frozenset({str})
_PLAIN = frozenset({str, int, float, bool, type(None)})


def loaded_row(value: object) -> LoadedRow:
    """Make a row without a key out of a value.

    Args:
        value: a dict, dataclass, msgspec, attrs or pydantic object, a plain value, or bytes of JSON.

    Raises:
        LoadFailed: the value cannot be sent, naming the field or the type.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return _verbatim(bytes(value))
    data = canonical(_builtins(value))
    return LoadedRow(data, data)


def _verbatim(text: bytes) -> LoadedRow:
    try:
        value = msgspec.json.decode(text)
        text.decode()
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise LoadFailed(f"the bytes returned are not JSON: {error}") from None
    return LoadedRow(canonical(value), text)


def _builtins(value: object) -> Any:
    if hasattr(value, "_fields") and isinstance(value, tuple):
        raise LoadFailed(
            f"a {type(value).__qualname__} is a tuple, without names in JSON: return its _asdict()"
        )
    if isinstance(value, list | tuple | set | frozenset):
        raise LoadFailed(f"a row is one value, not a {type(value).__name__}: return or yield rows one by one")
    if not is_supported(value):
        _refuse_mapped(value, "")
        raise LoadFailed(
            f"cannot send {a(type(value))}: return a dict, a dataclass, a msgspec, attrs or "
            "pydantic object, or bytes of JSON"
        )
    has_sets = _inspect(value)
    try:
        dumped = _dumped(value)
        return ordered(dumped, value) if has_sets else dumped
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        path, culprit = _locate(value)
        raise LoadFailed(f"{_field(path)} is {a(type(culprit))}, which has no JSON form") from None


def _dumped(value: object) -> Any:
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_hook)


def _inspect(value: object, path: str = "", depth: int = 0) -> bool:
    """Refuse what would be sent in another form than was meant: all columns, one member for two.

    Returns:
        whether there is a set in it.
    """
    if depth > _MAX_DEPTH:
        raise LoadFailed(f"{_field(path)} is nested deeper than {_MAX_DEPTH}")
    _refuse_mapped(value, path)
    if isinstance(value, Decimal) and not value.is_finite():
        raise LoadFailed(f"{_field(path)} is {value}, which JSON cannot hold")
    if hides(value):
        raise LoadFailed(f"{_field(path)} is a dataclass of pydantic that excludes members: return a model")
    has_sets = isinstance(value, set | frozenset)
    if isinstance(value, dict):
        for name, member in value.items():
            if type(member) not in _PLAIN:
                has_sets |= _inspect(member, f"{path}.{name}", depth + 1)
        if {*map(type, value)} - _TEXT:
            _refuse_equal_names(value, path)
    else:
        for step, member in _members(value):
            if type(member) not in _PLAIN:
                has_sets |= _inspect(member, path + step, depth + 1)
    return has_sets


def _refuse_mapped(value: object, path: str) -> None:
    if is_mapped(type(value)):
        raise LoadFailed(
            f"{_field(path)} is {a(type(value))} of an ORM, with all its columns: return what "
            "may be seen of it, or name a model of that in the loader's return annotation"
        )


def _refuse_equal_names(value: dict[Any, Any], path: str) -> None:
    seen: dict[str, object] = {}
    for name in value:
        try:
            (text,) = msgspec.to_builtins({name: 0}, str_keys=True)
        except (msgspec.MsgspecError, TypeError):
            raise LoadFailed(f"{_field(path)} has the member {name!r}: JSON names are texts") from None
        if text in seen:
            raise LoadFailed(f"{_field(path)} has the members {seen[text]!r} and {name!r}: one name in JSON")
        seen[text] = name


def _field(path: str) -> str:
    return f"field {path.lstrip('.')!r}" if path else "the value"


def _locate(value: object, path: str = "", depth: int = 0) -> tuple[str, object]:
    """The innermost member that cannot be encoded."""
    for step, member in _members(value):
        try:
            _dumped(member)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            inner = path + step
            return (inner, member) if depth == _MAX_DEPTH else _locate(member, inner, depth + 1)
    return path, value


def _members(value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        return ((f".{name}", member) for name, member in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"[{index}]", member) for index, member in enumerate(value))
    return ((f".{name}", getattr(value, name)) for name in fields(value) if hasattr(value, name))


def _hook(value: Any) -> object:
    if is_pydantic(type(value)):
        dumped = value.model_dump(mode="json")
        try:
            return ordered(dumped, value.model_dump())
        except TypeError:  # a set of models would be one of dicts
            return ordered(dumped, value, models=True)
    raise TypeError(f"no JSON form of {type(value).__qualname__}")
