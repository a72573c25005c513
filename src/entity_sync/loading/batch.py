"""What a batch loader answered: one value for each id, an exception, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from entity_sync.core.loaded import DENIED, Loaded
from entity_sync.errors import AccessDenied, LoadFailed, described
from entity_sync.loading.slices import Steps

__all__ = ["checked", "taken"]


def checked(answer: object, ids: Collection[object]) -> Mapping[Any, Any]:
    """The answer, if ids are what it is keyed by.

    Raises:
        LoadFailed: it is no mapping, or its keys are of another type than the ids, so that all would
            seem to be gone.
    """
    if not isinstance(answer, Mapping):
        kind = type(answer).__name__
        raise LoadFailed(f"a batch loader returns a mapping of ids to values, not a {kind}")
    (asked,) = {type(id) for id in ids}
    for key in answer.keys() - set(ids):
        if not isinstance(key, asked) or (isinstance(key, bool) and asked is int):  # a driver's UUID is one
            other, kind = type(key).__name__, asked.__name__
            raise LoadFailed(
                f"a batch loader returned a key of type {other}, but was given ids of type {kind}"
            )
    return answer


def taken(value: object, collect: Callable[[object], Steps[Loaded]]) -> Steps[Loaded | LoadFailed]:
    """What one value of the answer says: None and AccessDenied that there is no such key."""
    if isinstance(value, AccessDenied) or (isinstance(value, type) and issubclass(value, AccessDenied)):
        return DENIED
    if isinstance(value, LoadFailed):
        return value
    if isinstance(value, BaseException):
        failed = LoadFailed(described(value), retryable=True)
        failed.__cause__ = value
        return failed
    try:
        return (yield from collect(value))
    except LoadFailed as error:
        return error
