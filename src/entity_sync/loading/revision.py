"""The application's own number of a row, by which a load from a replica that is behind is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import Any, TypeAlias

from entity_sync.core.loaded import Loaded
from entity_sync.errors import LoadFailed
from entity_sync.model import Reads, Row

__all__ = ["Revision", "picked", "revised"]

Revision: TypeAlias = str | Callable[[Any], int]
"""A member's or attribute's name, or a function of the value."""


def picked(value: Any, how: str | Callable[[Any], Any]) -> Any:
    """What a name or a function finds in a value."""
    if callable(how):
        return how(value)
    return value[how] if isinstance(value, dict) else attrgetter(how)(value)


def revised(loaded: Loaded, value: object, how: Revision) -> Loaded:
    """The result with the revision of its un-keyed value.

    Raises:
        LoadFailed: the value has none, or it is no integer from 0 on.
    """
    elements = value if isinstance(value, list | tuple) else (value,)
    own = [one for one in elements if not isinstance(one, Row | Reads | None)]
    if not own or loaded.gone:
        return loaded
    try:
        revision = picked(own[0], how)
    except Exception as error:
        raise LoadFailed(f"revision= finds none: {error!r}") from error
    if type(revision) is not int or not 0 <= revision < 2**53:
        raise LoadFailed(f"a revision is an integer from 0 to 2^53, not {revision!r}")
    return replace(loaded, revision=revision)
