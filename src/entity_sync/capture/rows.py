"""The rows of a mapped class: how they are named, and by which tags live queries read them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import inspect as inspected

from entity_sync.errors import ConfigurationError

__all__ = ["Classes", "Watched", "checked", "ids_of", "tags_of"]

_log = logging.getLogger("entity_sync.capture")


@dataclass(frozen=True, slots=True)
class Watched:
    """How the rows of a mapped class are named.

    Attributes:
        entity: whose keys they are.
        id: the attribute that is the id, or a function of the object; None for the primary key. Of a column
            the old value is told too, and a None names nobody.
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


def ids_of(changed: Any, watched: Watched, *, is_new: bool = False) -> list[object]:
    """The id of its row, and the one that it had before."""
    state: Any = inspected(changed)
    if watched.id is None:
        ids = [*state.mapper.primary_key_from_instance(changed), *(state.identity or ())]
    elif callable(watched.id):
        ids = [watched.id(changed)]
    else:
        ids = [getattr(changed, watched.id)]
        if watched.id in state.mapper.columns:
            history = state.attrs[watched.id].history
            ids += history.deleted
            if not (is_new or history.deleted or history.unchanged):
                _log.warning(
                    "%s.%s was changed without being loaded, so its old value is not told as an id of %s: "
                    "give the column active_history=True",
                    type(changed).__qualname__,
                    watched.id,
                    watched.entity,
                )
    return [id for id in dict.fromkeys(ids) if id is not None]


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
