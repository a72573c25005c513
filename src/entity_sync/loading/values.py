"""One value that a loader returned → canonical JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from entity_sync.core.canonical import canonical
from entity_sync.core.loaded import LoadedRow
from entity_sync.errors import LoadFailed
from entity_sync.loading.glance import Kinds, at_a_glance
from entity_sync.loading.kinds import a, is_pydantic, is_supported
from entity_sync.loading.opened import MAX_DEPTH, dump_raised, encodable, field, refuse_mapped, steps
from entity_sync.model import EntityKey

__all__ = ["loaded_row"]


def loaded_row(
    value: object, key: EntityKey | None = None, *, is_tracked: bool = True, kinds: Kinds | None = None
) -> LoadedRow:
    """Make a row out of a value.

    Args:
        value: a dict, dataclass, msgspec, attrs or pydantic object, a plain value, or bytes of JSON.
        key, is_tracked: as a `LoadedRow` has them.
        kinds: what is known of the types of other values of the load.

    Raises:
        LoadFailed: the value cannot be sent, naming the field or the type.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return _verbatim(bytes(value), key, is_tracked)
    data = at_a_glance(value, {} if kinds is None else kinds)
    if data is None:
        data = canonical(_sendable(value))
    return LoadedRow(data, data, key, is_tracked)


def _verbatim(text: bytes, key: EntityKey | None, is_tracked: bool) -> LoadedRow:
    try:
        value = msgspec.json.decode(text)
        text.decode()
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise LoadFailed(f"the bytes returned are not JSON: {error}") from None
    return LoadedRow(canonical(value), text, key, is_tracked)


def _sendable(value: object) -> Any:
    if hasattr(value, "_fields") and isinstance(value, tuple):
        raise LoadFailed(
            f"a {type(value).__qualname__} is a tuple, without names in JSON: return its _asdict()"
        )
    if isinstance(value, list | tuple | set | frozenset):
        raise LoadFailed(f"a row is one value, not a {type(value).__name__}: return or yield rows one by one")
    if not is_supported(value):
        refuse_mapped(value)
        raise LoadFailed(
            f"cannot send {a(type(value))}: return a dict, a dataclass, a msgspec, attrs or "
            "pydantic object, or bytes of JSON"
        )
    try:
        return encodable(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        path, culprit = _locate(value)
        if is_pydantic(type(culprit)):
            raise LoadFailed(f"{field(path)} {dump_raised(culprit, error)}") from error
        raise LoadFailed(f"{field(path)} is {a(type(culprit))}, which has no JSON form") from None


def _locate(value: object, path: str = "", depth: int = 0) -> tuple[str, object]:
    """The innermost member that cannot be encoded."""
    for step, member in steps(value):
        try:
            encodable(member)
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
            inner = path + step
            return (inner, member) if depth == MAX_DEPTH else _locate(member, inner, depth + 1)
    return path, value
