"""The difference between two states of a view, by rows and by the top-level members of a row."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

import msgspec

from entity_sync.core.loaded import Loaded, LoadedRow
from entity_sync.core.wirerows import Patch, Put, WireKey
from entity_sync.model import EntityKey

__all__ = ["Difference", "difference"]

_MAX_MOVES = 8  # rows that are sent again to move them; of more, every row's key is sent in order
_Key: TypeAlias = EntityKey | None
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Difference(NamedTuple):
    """What makes the old rows the new ones, applied in this order."""

    drop: tuple[WireKey, ...]
    patch: tuple[Patch, ...]
    put: tuple[Put, ...]
    order: tuple[WireKey, ...]


def difference(old: Loaded, new: Loaded) -> Difference | None:
    """What to tell a client that holds ``old``; None where only the whole state says it.

    Rows are compared by their canonical bytes, and decoded only where those differ.
    """
    if old.gone or new.gone:
        return None
    first, last = _alike(old.rows, new.rows)
    olds, news = old.rows[first : len(old.rows) - last], new.rows[first : len(new.rows) - last]
    before = {row.key: row for row in olds}
    after = {row.key for row in news}
    kept = [row.key for row in olds if row.key in after]
    drop = tuple(_name(row.key) for row in olds if row.key not in after)
    order = [row.key for row in news if row.key in before]
    moved = set() if order == kept else _moved(kept, {key: position for position, key in enumerate(order)})
    is_reordered = len(moved) > _MAX_MOVES
    heads = old.rows[:first], new.rows[:first]
    tails = old.rows[len(old.rows) - last :], new.rows[len(new.rows) - last :]
    between = ((before[row.key], row) for row in news if row.key in before)
    pairs = chain(zip(*heads, strict=True), between, zip(*tails, strict=True))
    changed = [(one, other) for one, other in pairs if one.data != other.data]
    patches = {other.key: _patch(one, other) for one, other in changed if other.key not in moved}
    if is_reordered:
        patches |= {other.key: _patch(one, other) for one, other in changed if other.key in moved}
        moved = set()
    whole = {key for key, patch in patches.items() if patch is None}
    puts = _puts(enumerate(news, first), kept, moved, whole, first + len(kept) + last)
    return Difference(
        drop,
        tuple(patch for patch in patches.values() if patch is not None),
        (*_replaced(heads[1], whole), *puts, *_replaced(tails[1], whole)),
        tuple(_name(row.key) for row in new.rows) if is_reordered else (),
    )


def _alike(old: Sequence[LoadedRow], new: Sequence[LoadedRow]) -> tuple[int, int]:
    """How many rows at the beginning, and of the others at the end, have the same keys in both."""
    most = min(len(old), len(new))
    pairs = enumerate(zip(old, new, strict=False))
    first = next((at for at, (one, other) in pairs if one.key != other.key), most)
    pairs = enumerate(zip(reversed(old), reversed(new), strict=False))
    last = next((at for at, (one, other) in pairs if one.key != other.key), most)
    return first, min(last, most - first)


def _replaced(rows: Sequence[LoadedRow], whole: set[_Key]) -> Iterable[Put]:
    return [_put(row) for row in rows if row.key in whole] if whole else ()


def _puts(
    rows: Iterable[tuple[int, LoadedRow]],
    kept: Sequence[_Key],
    moved: set[_Key],
    whole: set[_Key],
    length: int,
) -> Iterable[Put]:
    """Rows to insert, to move and to replace, in their final order, as the list stands at each.

    Args:
        rows: with their final positions.
        length: of the list before.
    """
    places = {key: place for place, key in enumerate(kept)}
    # Before a row stand those that end there, and those that have yet to move away.
    still = {places[key] for key in moved}
    reached = -1
    for position, row in rows:
        if row.key in places and row.key not in moved:
            reached = places[row.key]
            if row.key in whole:
                yield _put(row)
            continue
        if row.key in moved:
            still.remove(places[row.key])
            length -= 1
        at = position + sum(place < reached for place in still)
        yield _put(row, at if at < length or row.key in moved else None)
        length += 1


def _moved(kept: Sequence[_Key], positions: dict[_Key, int]) -> set[_Key]:
    """The fewest rows whose moving brings the others into order: all but a longest rising sequence."""
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for index, key in enumerate(kept):
        position = positions[key]
        at = bisect_left(tails, position)
        previous.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [position]
        ends[at : at + 1] = [index]
    rising: set[_Key] = set()
    index = ends[-1] if ends else -1
    while index >= 0:
        rising.add(kept[index])
        index = previous[index]
    return {key for key in kept if key not in rising}


def _patch(before: LoadedRow, after: LoadedRow) -> Patch | None:
    """The members that differ; None where the row whole is no longer than they are."""
    if before.data[:1] != b"{" or after.data[:1] != b"{":
        return None
    old, new = _decode(before.data), _decode(after.data)
    changed = {
        name: value for name, value in new.items() if name not in old or bytes(old[name]) != bytes(value)
    }
    unset = tuple(name for name in old if name not in new)
    entity, id = _named(after.key)
    patch = Patch(entity, id, changed, unset)
    return patch if len(_encode(patch)) < len(after.data) else None


def _put(row: LoadedRow, at: int | None = None) -> Put:
    place = msgspec.UNSET if at is None else at
    entity, id = _named(row.key)
    return Put(msgspec.Raw(row.data), entity, id, place)


def _name(key: _Key) -> WireKey:
    entity, id = _named(key)
    return WireKey(entity, id)


def _named(key: _Key) -> tuple[str, str] | tuple[msgspec.UnsetType, msgspec.UnsetType]:
    return (msgspec.UNSET, msgspec.UNSET) if key is None else (key.entity, key.id)
