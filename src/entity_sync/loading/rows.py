"""What a loader returned or yielded → the rows of one state, each with its key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

from entity_sync.core.loaded import NO_KEYS, Loaded, LoadedRow, Unusable
from entity_sync.core.tags import Reading, reading
from entity_sync.errors import BadId, ConfigurationError, LoadFailed
from entity_sync.loading.exact import exact_text
from entity_sync.loading.glance import Kinds
from entity_sync.loading.passing import passing
from entity_sync.loading.revision import Revision, picked, revision_of, unfound
from entity_sync.loading.shape import Shape
from entity_sync.loading.slices import BYTES, ROWS, Slice, Steps
from entity_sync.loading.values import loaded_row
from entity_sync.model import EntityKey, Reads, Row

__all__ = ["Collector", "Known", "RowsOf", "collected", "finished"]

Known: TypeAlias = Callable[[str, object], EntityKey]
"""Spells a row's key canonically; raises ConfigurationError or BadId."""

_GONE = Loaded((), gone=True)


@dataclass(frozen=True, slots=True)
class RowsOf:
    """``rows=(entity, id)``: every plain element is a row of that entity.

    Attributes:
        entity: whose rows they are.
        id: finds an element's id: a member's or attribute's name, or a function.
    """

    entity: str
    id: str | Callable[[Any], object]

    def id_of(self, element: object) -> object:
        """Its id, as a loader gives it.

        Raises:
            LoadFailed: it has none; retryable where looking for it raised what may be over soon.
        """
        try:
            return picked(element, self.id)
        except Exception as error:  # noqa: BLE001 - the application may raise anything
            cause = passing(error)
            text = f"an element of rows={self.entity!r} has no id: {unfound(self.id, error)}"
            raise LoadFailed(text, retryable=cause is not None) from cause


class Collector:
    """The state of one view, as it is made of what its loader yields or returned, one by one."""

    def __init__(
        self,
        own: EntityKey,
        known: Known,
        *,
        rows: RowsOf | None = None,
        shape: Shape | None = None,
        revision: Revision | None = None,
        most: float = inf,
        done: Slice | None = None,
    ) -> None:
        """
        Args:
            own: the view's key: a row of this key is the un-keyed one.
            known: spells the keys of rows.
            rows: makes keyed rows of plain elements.
            shape: makes of plain elements what may be shown of them.
            revision: finds the application's own number of the un-keyed value.
            most: bytes that all rows may have as JSON, with their keys.
            done: counts what is done without a pause, for this state and others of one load.
        """
        self._own = own
        self._known = known
        self._rows = rows
        self._shape = shape
        self._how = revision
        self._most = most
        self._size = 0
        self._is_closed = False
        self._revision: int | None = None
        self._found: dict[EntityKey | None, LoadedRow] = {}
        self._absent: dict[EntityKey, bool] = {}
        self._reads: dict[Reading, None] = {}
        self._keys: dict[EntityKey, None] = {}
        self._is_gone = False
        self._kinds: Kinds = {}
        self._slice = Slice() if done is None else done

    def add(self, element: Any) -> bool:
        """Take a value, a `Row`, a `Reads`, or None, which says that there is no such key.

        Returns:
            whether it took so much since it last said so that others are to have a turn.

        Raises:
            LoadFailed: a value cannot be sent, two rows have one key, or a key cannot be; ``too_large`` as
                soon as there are more bytes than allowed; or nobody waits any more.
        """
        if self._is_closed:
            raise LoadFailed("nobody waits for the result any more")
        before = self._size
        if element is None:
            self._is_gone = True
        elif isinstance(element, Reads):
            self._reads[_reading(element)] = None
        elif isinstance(element, Row):
            self._take(element)
        elif self._rows is not None:
            key = self._key(self._rows.entity, self._rows.id_of(element))
            self._keys[key] = None
            self._ride(key, element, self._shape)
        else:
            self._put_own(_row(element, self._shape, self._kinds), element)
        return self._slice.ends(self._size - before)

    def close(self) -> None:
        """Take no more, so that a loader in a thread ends at what it yields next."""
        self._is_closed = True

    def loaded(self) -> Loaded:
        """The state that all of them make.

        Raises:
            LoadFailed: there are rows although there is no such key.
        """
        if self._is_gone and self._found:
            raise LoadFailed("None was yielded besides rows: it says that there is no such key")
        return Loaded(
            tuple(self._found.values()),
            gone=self._is_gone,
            reads=tuple(self._reads),
            revision=self._revision,
            absent=self._missed(),
            counted=self._size,
        )

    def _missed(self) -> frozenset[EntityKey]:
        return NO_KEYS.union(key for key, is_tracked in self._absent.items() if is_tracked) or NO_KEYS

    def denied(self) -> Loaded:
        """There is no such key for whoever asks, as far as what was read up to there says."""
        return Loaded((), gone=True, denied=True, reads=tuple(self._reads), absent=frozenset(self._keys))

    def unusable(self, error: LoadFailed) -> LoadFailed:
        """The error, with what was read up to there: that decides whether the next load fails as well."""
        if error.retryable or isinstance(error, Unusable):
            return error
        found = Loaded((), reads=tuple(self._reads), absent=frozenset(self._keys))
        return Unusable(str(error), found, code=error.code)

    def _take(self, row: Row) -> None:
        key = self._key(row.entity, row.id)
        if row.track:
            self._keys[key] = None
        if row.data is None:
            self._miss(key, is_tracked=row.track)
        else:
            self._ride(key, row.data, None, is_tracked=row.track)

    def _key(self, entity: object, id: object) -> EntityKey:
        entity = _entity("Row", entity)
        try:
            return self._known(entity, id)
        except (ConfigurationError, BadId) as error:
            raise LoadFailed(f"a row of {entity!r}: {error}") from None

    def _ride(self, key: EntityKey, data: Any, shape: Shape | None, *, is_tracked: bool = True) -> None:
        is_own = key == self._own
        try:
            row = _row(data, shape, self._kinds, None if is_own else key, is_tracked=is_own or is_tracked)
        except LoadFailed as error:
            raise LoadFailed(f"row {key}: {error}", retryable=error.retryable) from error.__cause__
        if is_own:
            self._put_own(row, data)
        else:
            self._put(row)

    def _miss(self, key: EntityKey, *, is_tracked: bool) -> None:
        if key in self._found or key in self._absent:
            raise _twice(key)
        if key == self._own:
            self._is_gone = True
        else:
            self._absent[key] = is_tracked

    def _put_own(self, row: LoadedRow, value: object) -> None:
        self._put(row)
        if self._how is not None:
            self._revision = revision_of(value, self._how)

    def _put(self, row: LoadedRow) -> None:
        key = row.key
        if key is None and key in self._found:
            raise LoadFailed(
                f"two rows have the key {self._own}, as those without a key of their own do: "
                "declare rows=(entity, id), or return a Row of each"
            )
        if key in self._found or key in self._absent:
            raise _twice(key)
        self._size += row.size
        if self._size > self._most:
            text = f"at least {self._size} bytes of rows, more than {self._most:.0f}"
            raise LoadFailed(text, code="too_large")
        self._found[key] = row


def _twice(key: EntityKey | None) -> LoadFailed:
    return LoadFailed(
        f"two rows have the key {key}: yield a row once, also where a join found it several times, and under "
        "an id that no other row of its entity has"
    )


def collected(value: object, into: Collector) -> Steps[Loaded]:
    """The state of a view out of a loader's result.

    Args:
        value: None (gone), one value, or a list, tuple or generator of values, `Row` and `Reads`.

    Raises:
        LoadFailed: as for `Collector`.
    """
    try:
        return _GONE if value is None else (yield from _collect(value, into))
    except LoadFailed as error:
        raise into.unusable(error) from error.__cause__


def finished(into: Collector) -> Steps[Loaded]:
    """The state that all elements make, with its version: to hash much is a slice of its own.

    Raises:
        LoadFailed: as for `Collector.loaded`.
    """
    loaded = into.loaded()
    if loaded.size > BYTES:
        yield
        loaded.work_out_version()
        yield
    return loaded


def _collect(value: object, into: Collector) -> Steps[Loaded]:
    if isinstance(value, Generator):
        with closing(value):
            yield from _added(value, into)
    elif isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        if len(value) > ROWS:
            yield  # many loads may end in one turn of the loop
        yield from _added(_present(value), into)
    elif isinstance(value, Iterator | AsyncIterator):
        raise LoadFailed(f"an iterator ({type(value).__name__}) was returned: return a list of it, or yield")
    else:
        into.add(value)
    return (yield from finished(into))


def _added(elements: Iterable[Any], into: Collector) -> Steps[None]:
    for element in elements:
        if into.add(element):
            yield


def _present(values: Sequence[Any]) -> Iterable[Any]:
    for index, element in enumerate(tuple(values)):  # between two slices it may become another list
        if element is None:
            raise LoadFailed(f"element {index} is None: leave out what does not exist")
        yield element


def _row(
    value: object, shape: Shape | None, kinds: Kinds, key: EntityKey | None = None, *, is_tracked: bool = True
) -> LoadedRow:
    return loaded_row(value if shape is None else shape(value), key, is_tracked=is_tracked, kinds=kinds)


def _entity(what: str, entity: object) -> str:
    if not isinstance(entity, str):
        kind = type(entity).__name__
        raise LoadFailed(
            f"the entity of a {what} is of type {kind}: use its name, or what registering it gave"
        )
    return exact_text(entity)


def _reading(reads: Reads) -> Reading:
    _entity("Reads", reads.entity)
    try:
        return reading(reads)
    except ValueError as error:
        raise LoadFailed(f"Reads of {reads.entity!r}: {error}") from None
