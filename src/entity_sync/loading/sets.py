"""Sets have no order, JSON has: one order for equal sets, whatever the hash seed is.

A value that was dumped is told from the value itself where it has lists that were sets; nothing in the
dumped value says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from entity_sync.loading.kinds import fields, is_pydantic

__all__ = ["ordered"]

_SETS = (set, frozenset)
_Step: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class _Sets:
    """Where sets are in one place of a value.

    Attributes:
        is_set: here is one; what its members hold, in whichever order, stands under step 0.
        inside: where they are further in, by member's name or index.
    """

    is_set: bool
    inside: dict[_Step, _Sets] = field(default_factory=dict)


def ordered(dumped: Any, plain: object, *, models: bool = False) -> Any:
    """What was dumped, with the lists in order that were sets in ``plain``; both have equal orders else.

    Args:
        models: look into pydantic models too; if not, they were put in order as they were dumped.
    """
    return _sorted(dumped, _sets_in([plain], models))


def _sets_in(candidates: Iterable[Any], models: bool) -> _Sets | None:
    """Where any of these, which may stand in one place, have sets."""
    members = [member for one in candidates if isinstance(one, _SETS) for member in one]
    if members or any(isinstance(one, _SETS) for one in candidates):
        inner = _sets_in(members, models)
        return _Sets(True, {} if inner is None else {0: inner})
    places: dict[_Step, list[Any]] = {}
    for one in candidates:
        for step, member in () if is_pydantic(type(one)) and not models else _steps(one):
            if not isinstance(member, str | int | float | None):
                places.setdefault(step, []).append(member)
    found = ((step, _sets_in(standing, models)) for step, standing in places.items())
    inside = {step: sets for step, sets in found if sets is not None}
    return _Sets(False, inside) if inside else None


def _steps(value: Any) -> Iterable[tuple[_Step, Any]]:
    if isinstance(value, dict):
        return ((name if type(name) is str else at, one) for at, (name, one) in enumerate(value.items()))
    if isinstance(value, list | tuple | deque):
        return enumerate(value)
    names: Iterable[_Step] = fields(value)
    members = [(name, getattr(value, name)) for name in fields(value) if hasattr(value, name)]
    if (config := getattr(value, "__struct_config__", None)) is not None:
        first = int(config.tag is not None)
        names = value.__struct_encode_fields__
        if config.array_like:
            names = range(first, first + len(members))
        return zip(names, (member for _name, member in members), strict=True)
    return members


def _sorted(dumped: Any, sets: _Sets | None) -> Any:
    if sets is None:
        return dumped
    if isinstance(dumped, dict):
        members = enumerate(dumped.items())
        return {name: _sorted(one, sets.inside.get(name, sets.inside.get(at))) for at, (name, one) in members}
    if not isinstance(dumped, list | tuple):
        return dumped
    if not sets.is_set:
        return [_sorted(one, sets.inside.get(at)) for at, one in enumerate(dumped)]
    found = [_sorted(one, sets.inside.get(0)) for one in dumped]
    try:
        return sorted(found, key=lambda one: (one, repr(one)))
    except TypeError:  # of several types, or of one that JSON has no order of
        return sorted(found, key=repr)
