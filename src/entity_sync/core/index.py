"""Which views this node has, and which of them a change concerns: look-ups, never a scan.

Views are found in one order, whatever the hashes of strings are, so that a seed of the simulation is one run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TypeAlias, TypeVar
from uuid import UUID

from entity_sync.core.loaded import NO_KEYS, Loaded
from entity_sync.core.memory import Memory
from entity_sync.core.tags import Reading
from entity_sync.core.view import View
from entity_sync.model import Audience, Change, EntityKey, Tags

__all__ = ["Index", "spelled"]

_NONE: dict[str, View] = {}
_PLAIN = (str, int, bool, UUID, type(None))  # whose repr tells all that are unequal apart
_Name = TypeVar("_Name", str, EntityKey)
_Places: TypeAlias = dict[str, dict[str, dict[View, None]]]  # tag, value, who stands there


class Index:
    """The node's views, by key and audience, by the rows they hold, and by what they read."""

    def __init__(self, number: Callable[[], int], memory: Memory[View] | None = None) -> None:
        """
        Args:
            number: draws the wire's number for a new view: random, 31 bits.
            memory: bounds the bytes of all views.
        """
        self._memory = memory
        self._by_key: dict[EntityKey, dict[str, View]] = {}
        self._by_number: dict[int, View] = {}
        self._by_row: dict[EntityKey, dict[View, None]] = {}
        self._reads: dict[str, dict[tuple[str, ...], _Places]] = {}
        self._draw = number

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[View]:
        """Every view, the newest first."""
        return reversed(self._by_number.values())

    def of(self, key: EntityKey) -> Collection[View]:
        """The views of a key, one for each audience."""
        return self._by_key.get(key, _NONE).values()

    def numbered(self, number: int) -> View | None:
        """The view that has this number on the wire."""
        return self._by_number.get(number)

    def depending(self, change: Change) -> dict[View, None]:
        """The views that hold the changed key as a row, or made a live query that may have found it."""
        found = dict(self._by_row.get(change.key, {}))
        for views in self._readers(change):
            found.update(views)
        return found

    def open(self, key: EntityKey, audience: Audience) -> View:
        """The view of this key and audience, made if nobody watched it before."""
        audiences = self._by_key.setdefault(key, {})
        name = spelled(audience)
        view = audiences.get(name)
        if view is None:
            number = self._draw()
            while number in self._by_number:
                number = self._draw()
            view = audiences[name] = self._by_number[number] = View(key, audience, number, self._memory)
        return view

    def depend(self, view: View, loaded: Loaded | None) -> None:
        """From now on the view depends on what this result holds and read; on nothing, if None."""
        rows = self._rows_of(view, loaded)
        reads = loaded.reads if loaded else ()
        for key in view.rows - rows:
            _discard(self._by_row, key, view)
        for key in rows - view.rows:
            self._by_row.setdefault(key, {})[view] = None
        if reads != view.reads:
            for read in view.reads:
                self._unread(read, view)
            for read in reads:
                self._read(read, view)
        view.rows, view.reads = rows, reads

    def _rows_of(self, view: View, loaded: Loaded | None) -> frozenset[EntityKey]:
        """The same object as before where it is equal: few loads change what a view depends on."""
        if loaded is None:
            return NO_KEYS
        rows = loaded.dependencies
        if rows == view.rows:
            loaded.share(view.rows)
            return view.rows
        return rows - {view.key} if view.key in rows else rows

    def close(self, view: View) -> None:
        """Forget a view that nobody watches."""
        self.depend(view, None)
        audiences = self._by_key[view.key]
        del audiences[spelled(view.audience)]
        if not audiences:
            del self._by_key[view.key]
        del self._by_number[view.number]
        if self._memory is not None:
            self._memory.forget(view)

    # A live query stands among those that name the same tags, under each value of each of them; one without
    # tags under none. A change looks where the fewest stand.

    def _readers(self, change: Change) -> Iterator[dict[View, None]]:
        said = change.tags or {}
        for names, places in self._reads.get(change.key.entity, {}).items():
            common = said.keys() & names
            # Where one tag fits, another may not; whoever stands under the only one said is concerned.
            is_exact = not common or (len(common) == 1 and common <= places.keys())
            for views in _fewest(names, places, said):
                yield views if is_exact else _concerned(views, change)

    def _read(self, read: Reading, view: View) -> None:
        places = self._reads.setdefault(read.entity, {}).setdefault(_names(read), {})
        for tag, value in _stands(read):
            places.setdefault(tag, {}).setdefault(value, {})[view] = None

    def _unread(self, read: Reading, view: View) -> None:
        alike = self._reads.get(read.entity, {})
        places = alike.get(_names(read), {})
        for tag, value in _stands(read):
            if value in places.get(tag, {}):  # another live query of the view may have stood there too
                _discard(places[tag], value, view)
                if not places[tag]:
                    del places[tag]
        if not places:
            alike.pop(_names(read), None)
        if not alike:
            self._reads.pop(read.entity, None)


def spelled(audience: Audience) -> str:
    """One text for each audience: to Python 1 equals True, and nobody may see what is for the other.

    Raises:
        TypeError: it is no plain value, so its text may be that of another.
    """
    if type(audience) is tuple:
        return f"({','.join(map(spelled, audience))})"
    if type(audience) not in _PLAIN:
        raise TypeError(f"an audience is a plain value, not a {type(audience).__qualname__}")
    return repr(audience)


def _names(read: Reading) -> tuple[str, ...]:
    return tuple(tag for tag, _ in read.tags)


def _stands(read: Reading) -> Iterator[tuple[str, str]]:
    for tag, values in read.tags or (("", ("",)),):
        for value in sorted(values):
            yield tag, value


def _fewest(names: tuple[str, ...], places: _Places, said: Tags) -> Collection[dict[View, None]]:
    """Those that stand under what is said of one tag; all, where nothing is said of any."""
    found = [
        [places[tag][value] for value in sorted(said[tag] & places[tag].keys())]
        for tag in names
        if tag in said and tag in places
    ]
    if not found:
        return next(iter(places.values()), {}).values()
    return min(found, key=lambda sets: sum(map(len, sets)))


def _concerned(views: Iterable[View], change: Change) -> dict[View, None]:
    entity, tags = change.key.entity, change.tags
    return {
        view: None
        for view in views
        if any(read.entity == entity and read.concerns(tags) for read in view.reads)
    }


def _discard(views: dict[_Name, dict[View, None]], key: _Name, view: View) -> None:
    held = views[key]
    held.pop(view, None)
    if not held:
        del views[key]
