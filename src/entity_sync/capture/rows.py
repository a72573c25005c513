"""The rows of a mapped class: how they are named, and by which tags live queries read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import inspect as inspected

from entity_sync.errors import ConfigurationError

__all__ = ["Classes", "Watched", "checked", "id_of", "tags_of"]


@dataclass(frozen=True, slots=True)
class Watched:
    """How the rows of a mapped class are named.

    Attributes:
        entity: whose keys they are.
        id: the attribute that is the id, or a function of the object; None for the primary key.
        tags: the columns by which live queries (`Reads`) read them; old and new values are told.
    """

    entity: str
    id: str | Callable[[Any], object] | None = None
    tags: tuple[str, ...] = ()


Classes: TypeAlias = Mapping[type, str | Watched]


def checked(kind: type, how: str | Watched) -> Watched:
    """How the rows of this class are named.

    Raises:
        ConfigurationError: the class is not mapped, or has not what its rows are to be named by.
    """
    watched = Watched(how) if isinstance(how, str) else how
    mapper: Any = inspected(kind, raiseerr=False)
    if mapper is None or not hasattr(mapper, "primary_key"):
        raise ConfigurationError(f"{getattr(kind, '__qualname__', repr(kind))} is not mapped to a table")
    if watched.id is None and len(mapper.primary_key) != 1:
        raise ConfigurationError(f"{kind.__qualname__} has several primary keys: say id= of Watched")
    if isinstance(watched.tags, str):
        raise ConfigurationError(
            f"{kind.__qualname__}: tags is a tuple of names, for example ({watched.tags!r},)"
        )
    columns: list[str] = mapper.columns.keys()  # unlike its attrs, they can be asked for at any time
    unknown = [name for name in watched.tags if name not in columns]
    if isinstance(watched.id, str) and not any(watched.id in vars(base) for base in kind.__mro__):
        unknown.append(watched.id)
    if unknown:
        raise ConfigurationError(
            f"{kind.__qualname__} has no {', '.join(map(repr, unknown))}; it has {', '.join(columns)}"
        )
    return watched


def id_of(changed: Any, watched: Watched) -> object:
    """The id of its row."""
    if watched.id is None:
        return inspected(changed).mapper.primary_key_from_instance(changed)[0]
    return watched.id(changed) if callable(watched.id) else getattr(changed, watched.id)


def tags_of(changed: Any, names: tuple[str, ...], *, is_new: bool) -> dict[str, list[object]] | None:
    """Old and new values; one whose old value was never read is left out, and so matches everything."""
    if not names:
        return None
    found: dict[str, list[object]] = {}
    for name in names:
        history = inspected(changed).attrs[name].history
        values = [*history.added, *history.unchanged, *history.deleted]
        is_known = bool(history.deleted or history.unchanged) or (is_new and bool(history.added))
        if is_known:
            found[name] = values
    return found
