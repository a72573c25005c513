"""The application's own number of a row, by which a load from a replica that is behind is known."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeAlias, cast

from entity_sync.errors import LoadFailed, placed
from entity_sync.loading.passing import passing

__all__ = ["Revision", "check_revision", "picked", "revision_of", "unfound"]

Revision: TypeAlias = str | Callable[[Any], int]
"""A member's or attribute's name, or a function of the value."""


def picked(value: Any, how: str | Callable[[Any], Any]) -> Any:
    """What a name or a function finds in a value."""
    if callable(how):
        return how(value)
    return value[how] if isinstance(value, dict) else attrgetter(how)(value)


def unfound(how: str | Callable[[Any], Any], error: Exception) -> str:
    """Why `picked` found nothing, without what is in the value."""
    return f"{type(error).__name__}, looking for {how!r}" if isinstance(how, str) else placed(error)


def check_revision(revision: object) -> None:
    """It is a number that every node and client reads alike.

    Raises:
        ValueError: it is not.
    """
    if type(revision) is not int or not 0 <= revision < 2**53:
        raise ValueError(f"a revision is an integer from 0 to 2^53 − 1, not {revision!r}")


def revision_of(value: object, how: Revision) -> int:
    """The revision of a view's un-keyed value.

    Raises:
        LoadFailed: the value has none, or it is no integer from 0 on; retryable where looking for it raised
            what may be over soon.
    """
    try:
        revision = picked(value, how)
    except Exception as error:  # noqa: BLE001 - the application may raise anything
        cause = passing(error)
        text = f"revision= finds none: {unfound(how, error)}"
        raise LoadFailed(text, retryable=cause is not None) from cause
    try:
        check_revision(revision)
    except ValueError:
        kind = type(revision).__name__
        raise LoadFailed(f"revision= finds a {kind}, which is no integer from 0 to 2^53 − 1") from None
    return cast("int", revision)
