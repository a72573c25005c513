"""Applying a delta to the rows a client holds: pure, never in place, and in one pass over them."""

from __future__ import annotations

from collections.abc import Iterator

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
    held = _without(rows, [_key(own, key) for key in delta.drop])
    patches = [(_key(own, patch), patch) for patch in delta.patch]
    puts = [(_key(own, put), put) for put in delta.put]
    places = _places(held, {key for key, _ in [*patches, *puts]})
    for key, patch in patches:
        if key not in places:
            raise Misfit(f"{key} is not held")
        held[places[key]] = _patched(held[places[key]], patch)
    for row, at, is_held in list(_not_replaced(held, places, puts)):
        _put(held, row, at, is_held)
    return _ordered(own, held, delta.order) if delta.order else tuple(held)


def _without(rows: tuple[Row, ...], keys: list[EntityKey]) -> list[Row]:
    if not keys:
        return list(rows)
    gone, ids = set(keys), {key.id for key in keys}
    held = [row for row in rows if row.id not in ids or EntityKey(row.entity, row.id) not in gone]
    if len(held) != len(rows) - len(keys):
        raise Misfit("rows to drop that are not held")
    return held


def _places(held: list[Row], keys: set[EntityKey]) -> dict[EntityKey, int]:
    """Where those of these keys stand that are held."""
    ids = {key.id for key in keys}
    places: dict[EntityKey, int] = {}
    for place, row in enumerate(held if keys else ()):
        if row.id in ids and (key := EntityKey(row.entity, row.id)) in keys:
            places[key] = place
            if len(places) == len(keys):
                break
    return places


def _patched(row: Row, patch: Patch) -> Row:
    if not isinstance(row.data, dict):
        raise Misfit(f"a patch of {row.entity} {row.id}, which is no object")
    data = {name: value for name, value in row.data.items() if name not in patch.unset}
    return Row(row.entity, row.id, data | patch.set_)


def _not_replaced(
    held: list[Row], places: dict[EntityKey, int], puts: list[tuple[EntityKey, Put]]
) -> Iterator[tuple[Row, int | None, bool]]:
    """Replace the rows that stay where they are, while their places are known; the other puts, in order.

    Yields:
        a row, where it goes, and whether one of its key is held.
    """
    moved: set[EntityKey] = set()
    for key, put in puts:
        row = Row(key.entity, key.id, put.data)
        if put.at is None and key in places and key not in moved:
            held[places[key]] = row
        else:
            yield row, put.at, key in places or key in moved
            moved.add(key)


def _put(held: list[Row], row: Row, at: int | None, is_held: bool) -> None:
    if is_held:  # few: where many rows move, a server sends their order
        id, entity = row.id, row.entity
        place = next(place for place, one in enumerate(held) if one.id == id and one.entity == entity)
        if at is None:
            held[place] = row
            return
        del held[place]
    to = len(held) if at is None else at
    if not 0 <= to <= len(held):
        raise Misfit(f"a row at {to} among {len(held)}")
    held.insert(to, row)


def _ordered(own: EntityKey, held: list[Row], order: tuple[WireKey, ...]) -> tuple[Row, ...]:
    rows = {EntityKey(row.entity, row.id): row for row in held}
    keys = [_key(own, key) for key in order]
    if len(keys) != len(rows) or rows.keys() != set(keys):
        raise Misfit("an order that names other rows")
    return tuple(rows[key] for key in keys)


def _key(own: EntityKey, named: WireKey | Patch | Put) -> EntityKey:
    return EntityKey(
        own.entity if named.entity is None else named.entity, own.id if named.id is None else named.id
    )
