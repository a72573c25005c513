"""What a loader returned or yielded → the rows of one state, each with its key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from entity_sync.core.loaded import Loaded, LoadedRow
from entity_sync.core.tags import Reading, reading
from entity_sync.errors import BadId, ConfigurationError, LoadFailed
from entity_sync.loading.audience import exact_text
from entity_sync.loading.revision import picked
from entity_sync.loading.shape import Shape
from entity_sync.loading.values import loaded_row
from entity_sync.model import EntityKey, Reads, Row

__all__ = ["Elements", "Known", "RowsOf", "collected"]

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

    def __post_init__(self) -> None:
        if not (isinstance(self.id, str) or callable(self.id)):
            raise ConfigurationError(f"rows=({self.entity!r}, …): the id is a name or a function")

    def row(self, element: object) -> Row:
        """The element with its key.

        Raises:
            LoadFailed: it has no id.
        """
        try:
            return Row(self.entity, picked(element, self.id), element)
        except Exception as error:
            raise LoadFailed(f"an element of rows={self.entity!r} has no id: {error!r}") from error


class Elements(list[Any]):
    """What a generator yielded, which unlike a returned None or list may be nothing but reads."""


def collected(
    value: object, own: EntityKey, rows: RowsOf | None, known: Known, shape: Shape | None = None
) -> Loaded:
    """The state of a view out of a loader's result.

    Args:
        value: None (gone), one value, or a list, tuple or `Elements` of values, `Row` and `Reads`.
        own: the view's key: a row of this key is the un-keyed one.
        rows: makes keyed rows of plain elements.
        shape: makes of plain elements what may be shown of them.

    Raises:
        LoadFailed: a value cannot be sent, two rows have one key, or a key cannot be.
    """
    if value is None:
        return _GONE
    elements: Iterable[Any] = value if isinstance(value, list | tuple) else (value,)
    found: dict[EntityKey | None, LoadedRow] = {}
    reads: dict[Reading, None] = {}
    is_gone = False
    for index, element in enumerate(elements):
        if isinstance(element, Reads):
            reads[_reading(element)] = None
        elif element is None:
            if not isinstance(value, Elements):
                raise LoadFailed(f"element {index} is None: leave out what does not exist")
            is_gone = True
        else:
            row = _row(element if isinstance(element, Row) else _keyed(element, rows, shape), own, known)
            if row.key in found:
                raise LoadFailed(f"two rows have the key {row.key or own}")
            found[row.key] = row
    if is_gone and found:
        raise LoadFailed("None was yielded besides rows: it says that there is no such key")
    return Loaded(tuple(found.values()), gone=is_gone, reads=tuple(reads))


def _keyed(element: Any, rows: RowsOf | None, shape: Shape | None) -> Any:
    shown = element if shape is None else shape(element)
    return shown if rows is None else replace(rows.row(element), data=shown)


def _row(element: Any, own: EntityKey, known: Known) -> LoadedRow:
    if not isinstance(element, Row):
        return loaded_row(element)
    entity = _entity("Row", element.entity)
    try:
        key = known(entity, element.id)
    except (ConfigurationError, BadId) as error:
        raise LoadFailed(f"a row of {entity!r}: {error}") from None
    row = loaded_row(element.data)
    return row if key == own else replace(row, key=key, is_tracked=element.track)


def _entity(what: str, entity: object) -> str:
    if not isinstance(entity, str):
        raise LoadFailed(f"a {what} is of the entity {entity!r}: use its name, or what registering it gave")
    return exact_text(entity)


def _reading(reads: Reads) -> Reading:
    _entity("Reads", reads.entity)
    try:
        return reading(reads)
    except ValueError as error:
        raise LoadFailed(f"Reads of {reads.entity!r}: {error}") from None
