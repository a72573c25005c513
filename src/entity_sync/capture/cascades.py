"""Rows that the database deletes or changes by itself, as what they belong to is deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import inspect as inspected
from sqlalchemy.orm import RelationshipDirection

from entity_sync.capture.rows import Watched

__all__ = ["warn_of_cascades"]

_log = logging.getLogger("entity_sync.capture")
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")


def warn_of_cascades(classes: Mapping[type, Watched]) -> None:
    """Log each way by which rows of these classes may change behind the session's back.

    It asks for relationships, so all classes that they name have to be there: at a flush they are.
    """
    found = [one for kind, watched in classes.items() for one in _cascades(kind, watched)]
    for one in dict.fromkeys(found):
        _log.warning("%s", one)


def _cascades(kind: type, watched: Watched) -> Iterator[str]:
    mapper: Any = inspected(kind)
    rows = f"rows of {kind.__qualname__}"
    by_hand = f"or say their keys by notify_after_commit(session, {watched.entity!r}, ...)"
    handled: set[Any] = set()
    for relationship in _relationships_to(mapper):
        handled |= relationship.remote_side
        parent = relationship.parent.class_.__qualname__
        if relationship.passive_deletes:
            yield (
                f"{parent}.{relationship.key} has passive_deletes: with the {parent} the database deletes or "
                f"changes {rows} that are not loaded, and they are not notified: leave passive_deletes out, "
                f"{by_hand}"
            )
    for key in _cascading_keys(mapper):
        for parent in _mapped_to(mapper, key.column.table):
            if key.parent not in handled:
                yield (
                    f"{kind.__qualname__}.{key.parent.key} has ondelete: with the {parent} the database "
                    f"deletes or changes {rows}, and they are not notified: give {parent} a relationship to "
                    f"{kind.__qualname__}, {by_hand}"
                )


def _relationships_to(mapper: Any) -> Iterator[Any]:
    """Those by which the session itself would change rows of this class."""
    for other in mapper.registry.mappers:
        for relationship in other.relationships:
            is_own = relationship.parent is other and not relationship.viewonly
            is_of_many = relationship.direction is RelationshipDirection.ONETOMANY
            if is_own and is_of_many and relationship.mapper.common_parent(mapper):
                yield relationship


def _cascading_keys(mapper: Any) -> Iterator[Any]:
    for table in mapper.tables:
        for key in table.foreign_keys:
            is_inheritance = key.column.table is not table and key.column.table in mapper.tables
            if (key.ondelete or "").upper() in _ACTIONS and not is_inheritance:
                yield key


def _mapped_to(mapper: Any, table: Any) -> list[str]:
    """The classes that are mapped to this table, without those that inherit it."""
    return [
        other.class_.__qualname__
        for other in mapper.registry.mappers
        if other.local_table is table and (other.inherits is None or other.inherits.local_table is not table)
    ]
