"""One value that a loader returned → canonical JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import msgspec

from entity_sync.core.canonical import canonical
from entity_sync.core.loaded import LoadedRow
from entity_sync.errors import LoadFailed

__all__ = ["loaded_row"]

_MAX_DEPTH = 64


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
    if isinstance(value, list | tuple | set | frozenset):
        raise LoadFailed(f"a row is one value, not a {type(value).__name__}: return or yield rows one by one")
    if not _is_supported(value):
        raise LoadFailed(
            f"cannot send a {type(value).__qualname__}: return a dict, a dataclass, a msgspec or pydantic "
            "object, or bytes of JSON"
        )
    try:
        return msgspec.to_builtins(value, str_keys=True, order="deterministic", enc_hook=_hook)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        path, culprit = _locate(value)
        where = f"field {path.lstrip('.')!r}" if path else "the value"
        raise LoadFailed(f"{where} is a {type(culprit).__qualname__}, which has no JSON form") from None


def _is_supported(value: object) -> bool:
    return (
        isinstance(value, dict | str | int | float | msgspec.Struct)
        or (dataclasses.is_dataclass(value) and not isinstance(value, type))
        or _is_pydantic(value)
    )


def _is_pydantic(value: object) -> bool:
    return hasattr(type(value), "__pydantic_serializer__") and hasattr(value, "model_dump")


def _locate(value: object, path: str = "", depth: int = 0) -> tuple[str, object]:
    """The innermost member that cannot be encoded."""
    for step, member in _members(value):
        try:
            msgspec.to_builtins(member, str_keys=True, order="deterministic", enc_hook=_hook)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            inner = path + step
            return (inner, member) if depth == _MAX_DEPTH else _locate(member, inner, depth + 1)
    return path, value


def _members(value: object) -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        return ((f".{name}", member) for name, member in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((f"[{index}]", member) for index, member in enumerate(value))
    declared = ("__struct_fields__", "__dataclass_fields__", "__pydantic_fields__")
    names = (name for attribute in declared for name in getattr(value, attribute, ()))
    return ((f".{name}", getattr(value, name)) for name in names)


def _hook(value: Any) -> object:
    if _is_pydantic(value):
        return _ordered(value.model_dump(mode="json"), value.model_dump())
    raise TypeError(f"no JSON form of {type(value).__qualname__}")


def _ordered(dumped: Any, plain: Any) -> Any:
    """What pydantic dumped, but for its sets, whose order it leaves to the hash seed; ``plain`` has them."""
    if isinstance(dumped, list) and isinstance(plain, set | frozenset):
        return sorted(dumped, key=repr)
    if isinstance(dumped, list) and isinstance(plain, list | tuple) and len(dumped) == len(plain):
        return [_ordered(member, before) for member, before in zip(dumped, plain, strict=True)]
    if isinstance(dumped, dict) and isinstance(plain, dict) and len(dumped) == len(plain):
        members = zip(dumped.items(), plain.values(), strict=True)
        return {name: _ordered(member, before) for (name, member), before in members}
    return dumped
