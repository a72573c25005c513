"""The rows of a mapped class: how they are named, and by which tags live queries read them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

from sqlalchemy import TypeDecorator
from sqlalchemy import inspect as inspected

from entity_sync.errors import ConfigurationError, described
from entity_sync.model import Named, name_of

__all__ = ["Classes", "Held", "Watched", "checked", "held", "ids_of", "is_written", "tags_of", "why_unknown"]

_log = logging.getLogger("entity_sync.capture")
_NO_TAGS = (float, Decimal, datetime, time, timedelta, bytes, list, dict, set)


@dataclass(frozen=True, slots=True, init=False)
class Watched:
    """How the rows of a mapped class are named.

    Attributes:
        entity: whose keys they are; it may be given by name or handle.
        id: the attribute that is the id, or a function of the object; None for the primary key. Of a column
            the old value is told too, and a None names nobody.
        tags: the columns by which live queries (`Reads`) read them; old and new values are told.
    """

    entity: str
    id: str | Callable[[Any], object] | None = None
    tags: tuple[str, ...] = ()

    def __init__(
        self,
        entity: str | Named,
        id: str | Callable[[Any], object] | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        object.__setattr__(self, "entity", name_of(entity))
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "tags", tags)


_How: TypeAlias = str | Named | Watched
Classes: TypeAlias = Mapping[type, _How | Sequence[_How]]
"""Class → its entity by name or handle, or how its rows are named, or several of them."""
Held: TypeAlias = Mapping[str, list[object]]
"""Column → its value in the database, or nothing where that is not known."""


def checked(kind: type, how: object) -> tuple[Watched, ...]:
    """How the rows of this class are named, in each way.

    Raises:
        ConfigurationError: the class is not mapped, or has not what its rows are to be named by, or a column
            that is to be a tag holds what cannot be one; or this says nothing of the kind.
    """
    mapper: Any = inspected(kind, raiseerr=False)
    if mapper is None or not hasattr(mapper, "primary_key"):
        raise ConfigurationError(f"{getattr(kind, '__qualname__', repr(kind))} is not mapped to a table")
    several = tuple(_watched(kind, one) for one in (how if isinstance(how, list | tuple) else [how]))
    if not several:
        raise ConfigurationError(f"{kind.__qualname__}: of which entity are its rows? The list is empty")
    for watched in several:
        _check(kind, mapper, watched)
    return tuple(dict.fromkeys(several))


def _watched(kind: type, how: object) -> Watched:
    if isinstance(how, Watched):
        return how
    if isinstance(how, str | Named):
        return Watched(how)
    raise ConfigurationError(
        f"{kind.__qualname__}: an entity's name or handle, Watched(...), or a list of them, not {how!r}"
    )


def _check(kind: type, mapper: Any, watched: Watched) -> None:
    """Its rows can be named so.

    Raises:
        ConfigurationError: they cannot.
    """
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
    for name in watched.tags:
        _check_tag(kind, name, mapper.columns[name].type)


def _check_tag(kind: type, name: str, column_type: Any) -> None:
    if isinstance(column_type, TypeDecorator):
        return  # what its values are is the application's own
    try:
        holds = column_type.python_type
    except NotImplementedError:
        return
    if issubclass(holds, _NO_TAGS):
        raise ConfigurationError(
            f"{kind.__qualname__}.{name} holds a {holds.__qualname__}, which cannot be a tag: those are str, "
            "int, bool, UUID, date, Enum or None. Leave it out of tags="
        )


def held(changed: Any, watched: Watched, *, is_flushed: bool = False) -> Held:
    """What the columns that name its row hold in the database, as far as this is known.

    A value that the database makes (``order.total = Order.total + 1``) and one that a column sets by itself
    (``onupdate=``) leave no trace of the old one, so it is asked for before the flush. An id that is neither
    loaded nor changed is loaded.

    Args:
        is_flushed: whether the flush has changed it already: then what it held before is asked for.
    """
    state: Any = inspected(changed)
    if not is_flushed:
        state.mapper.primary_key_from_instance(changed)  # of a row that has expired it loads all the rest too
    found = {}
    for name in (*watched.tags, *_id_column(state, watched)):
        history = state.attrs[name].history
        found[name] = [*history.deleted]
        if not (is_flushed and _sets_itself(state.mapper, name)):
            found[name] += history.unchanged
    for name in _id_column(state, watched):
        if not found[name] and not state.attrs[name].history.added:
            found[name] = [getattr(changed, name)]
    return found


def is_written(changed: Any) -> bool:
    """After a flush: whether it made the database make a value, which then is not known here."""
    state: Any = inspected(changed)
    return not state.expired_attributes.isdisjoint(state.unloaded)


def ids_of(changed: Any, watched: Watched, before: Held | None) -> list[object]:
    """The id of its row, and the one that it had before.

    Args:
        before: what was `held`, or None for a new row.
    """
    state: Any = inspected(changed)
    if watched.id is None:
        ids = [*state.mapper.primary_key_from_instance(changed), *(state.identity or ())]
    elif callable(watched.id):
        ids = [watched.id(changed)]
    else:
        ids = [getattr(changed, watched.id)]
        if before is not None and watched.id in before:
            ids += before[watched.id]
            if not before[watched.id]:
                _log.warning(
                    "%s.%s was changed without being loaded, so its old value is not told as an id of %s: "
                    "give the column active_history=True",
                    type(changed).__qualname__,
                    watched.id,
                    watched.entity,
                )
    return [id for id in dict.fromkeys(ids) if id is not None]


def tags_of(changed: Any, names: tuple[str, ...], before: Held | None) -> dict[str, list[object]] | None:
    """Old and new values; a tag of which one is not known is left out, and so matches everything.

    Args:
        before: what was `held`, or None for a new row.
    """
    if not names:
        return None
    found: dict[str, list[object]] = {}
    for name in names:
        history = inspected(changed).attrs[name].history
        new = [*history.added, *history.unchanged]
        old = new if before is None else before[name]
        if new and old:
            found[name] = [*new, *old]
    return found


def why_unknown(changed: Any, watched: Watched, error: Exception) -> str:
    """Why the id of its row is not known, and what to do."""
    state: Any = inspected(changed)
    by_hand = f"say the key by notify_after_commit(session, {watched.entity!r}, ...)"
    if watched.id is None or _id_column(state, watched):
        return f"its id is not known, since asking for it raised {described(error)}; {by_hand}"
    asked = f"id={'' if callable(watched.id) else repr(watched.id)} of Watched({watched.entity!r})"
    advice = f"make the id of columns alone, or {by_hand}"
    unset = [
        name for name, one in state.mapper.relationships.items() if not (one.uselist or name in state.dict)
    ]
    if state.key is None and unset:
        advice = (
            f"it is asked as the session flushes, and {' and '.join(unset)} of this new object was not set, "
            f"so it is None then, and not loaded. Set it where the object is made, {advice}"
        )
    return f"its id is not known, since {asked} raised {described(error)}; {advice}"


def _sets_itself(mapper: Any, name: str) -> bool:
    column = mapper.columns[name]
    return column.onupdate is not None or column is mapper.version_id_col


def _id_column(state: Any, watched: Watched) -> tuple[str, ...]:
    return (watched.id,) if isinstance(watched.id, str) and watched.id in state.mapper.columns else ()
