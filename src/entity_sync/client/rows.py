"""Applying a delta to the rows a client holds: pure, and never in place."""

from __future__ import annotations

from entity_sync.client.incoming import Delta, Patch, Put, WireKey
from entity_sync.client.state import Row
from entity_sync.model import EntityKey

__all__ = ["Misfit", "applied"]


class Misfit(Exception):
    """The delta is not one of these rows: only the rows whole help."""


def applied(own: EntityKey, rows: tuple[Row, ...], delta: Delta) -> tuple[Row, ...]:
    """The rows after a delta; those before, which a program may still show, are left as they are.

    Args:
        own: the key of a row that names none.

    Raises:
        Misfit: it speaks of rows that are not held, or that are no objects.
    """
    held = list(rows)
    for key in delta.drop:
        del held[_place(held, _key(own, key))]
    for patch in delta.patch:
        place = _place(held, _key(own, patch))
        held[place] = _patched(held[place], patch)
    for put in delta.put:
        _put(held, _key(own, put), put)
    return _ordered(own, held, delta.order) if delta.order else tuple(held)


def _patched(row: Row, patch: Patch) -> Row:
    if not isinstance(row.data, dict):
        raise Misfit(f"a patch of {row.entity} {row.id}, which is no object")
    data = {name: value for name, value in row.data.items() if name not in patch.unset}
    return Row(row.entity, row.id, data | patch.set_)


def _put(held: list[Row], key: EntityKey, put: Put) -> None:
    row = Row(*key, put.data)
    places = [place for place, other in enumerate(held) if (other.entity, other.id) == key]
    if places and put.at is None:
        held[places[0]] = row
        return
    for place in places:
        del held[place]
    at = len(held) if put.at is None else put.at
    if not 0 <= at <= len(held):
        raise Misfit(f"a row at {at} among {len(held)}")
    held.insert(at, row)


def _ordered(own: EntityKey, held: list[Row], order: tuple[WireKey, ...]) -> tuple[Row, ...]:
    rows = {EntityKey(row.entity, row.id): row for row in held}
    keys = [_key(own, key) for key in order]
    if len(keys) != len(rows) or rows.keys() != set(keys):
        raise Misfit("an order that names other rows")
    return tuple(rows[key] for key in keys)


def _place(held: list[Row], key: EntityKey) -> int:
    for place, row in enumerate(held):
        if (row.entity, row.id) == key:
            return place
    raise Misfit(f"{key} is not held")


def _key(own: EntityKey, named: WireKey | Patch | Put) -> EntityKey:
    return EntityKey(
        own.entity if named.entity is None else named.entity, own.id if named.id is None else named.id
    )
