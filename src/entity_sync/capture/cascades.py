"""Rows that the database deletes or changes by itself, as what they belong to is deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import inspect as inspected
from sqlalchemy.orm import RelationshipDirection

from entity_sync.capture.rows import Watched

__all__ = ["warn_of_cascades"]

_log = logging.getLogger("entity_sync.capture")
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")


def warn_of_cascades(classes: Mapping[type, Sequence[Watched]]) -> None:
    """Log each way by which rows of these classes may change behind the session's back.

    It asks for relationships, so all classes that they name have to be there: at a flush they are.
    """
    found = [
        one for kind, several in classes.items() for watched in several for one in _cascades(kind, watched)
    ]
    for one in dict.fromkeys(found):
        _log.warning("%s", one)


class _Link(NamedTuple):
    """A way by which rows of a class change as rows of a parent are deleted.

    Attributes:
        parent: its mapper.
        is_deletion: they are deleted, so what belongs to them changes as well.
        left: why the session leaves it to the database, which rows, and what would have it do it itself; None
            where it does.
    """

    parent: Any
    is_deletion: bool
    left: tuple[str, str, str] | None


def _cascades(kind: type, watched: Watched) -> Iterator[str]:
    """The database goes on from row to row: so do we, up from the watched class."""
    paths: list[tuple[Any, ...]] = [(inspected(kind),)]
    seen = {*paths[0]}
    for path in paths:
        for link in _links(path[0]):
            if path[1:] and not link.is_deletion:
                continue
            longer = (link.parent, *path)
            if link.left is not None:
                yield _warning([_name(mapper) for mapper in longer], link.left, watched.entity)
            if link.parent not in seen:
                seen.add(link.parent)
                paths.append(longer)


def _warning(path: list[str], left: tuple[str, str, str], entity: str) -> str:
    why, which, instead = left
    rows = f"rows of {path[-1]}" + (f" ({' → '.join(path)})" if path[2:] else which)
    return (
        f"{why}: with the {path[0]} the database deletes or changes {rows}, and they are not notified: "
        f"{instead}, or say their keys by notify_after_commit(session, {entity!r}, ...)"
    )


def _links(mapper: Any) -> Iterator[_Link]:
    handled: set[Any] = set()
    for relationship in _relationships_to(mapper):
        handled |= relationship.remote_side
        if relationship.passive_deletes:
            why = f"{_name(relationship.parent)}.{relationship.key} has passive_deletes"
            left = (why, " that are not loaded", "leave passive_deletes out")
            keys = [key for column in relationship.remote_side for key in column.foreign_keys]
            # a key that says nothing may say it in the database
            yield _Link(relationship.parent, all(_action(key) in ("", "CASCADE") for key in keys), left)
    for key in _cascading_keys(mapper):
        for parent in _mapped_to(mapper, key.column.table):
            why = f"{_name(mapper)}.{key.parent.key} has ondelete"
            left = (why, "", f"give {_name(parent)} a relationship to {_name(mapper)}")
            yield _Link(parent, _action(key) == "CASCADE", None if key.parent in handled else left)


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
            if _action(key) in _ACTIONS and not is_inheritance:
                yield key


def _mapped_to(mapper: Any, table: Any) -> list[Any]:
    """What is mapped to this table, without what inherits it."""
    return [
        other
        for other in mapper.registry.mappers
        if other.local_table is table and (other.inherits is None or other.inherits.local_table is not table)
    ]


def _action(key: Any) -> str:
    return (key.ondelete or "").upper()


def _name(mapper: Any) -> str:
    name: str = mapper.class_.__qualname__
    return name
