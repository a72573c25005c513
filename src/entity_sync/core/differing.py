"""In what two states of a view differ, by name: for people, without any value."""

from __future__ import annotations

import msgspec

from entity_sync.core.loaded import Loaded

__all__ = ["differing"]

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def differing(old: Loaded, new: Loaded) -> tuple[str, ...]:
    """The top-level members of the view's own row, and the keys of other rows, sorted.

    Returns:
        nothing where only the order differs, or the row is no object.
    """
    before = {row.key: row.data for row in old.rows}
    after = {row.key: row.data for row in new.rows}
    names: set[str] = set()
    for key in before.keys() | after.keys():
        one, other = before.get(key, b""), after.get(key, b"")
        if key is None:
            names |= _members(one, other)
        elif one != other:
            names.add(f"{key.entity}/{key.id}")
    return tuple(sorted(names))


def _members(old: bytes, new: bytes) -> set[str]:
    before, after = _object(old), _object(new)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _object(data: bytes) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in _decode(data).items()} if data[:1] == b"{" else {}
