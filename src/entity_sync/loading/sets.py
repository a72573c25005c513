"""Sets have no order, JSON has: one order for equal sets, whatever the hash seed is.

What pydantic dumped is told from the value itself where it has lists that were sets; nothing in the dumped
value says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from entity_sync.loading.kinds import alias_of, members

__all__ = ["in_order", "ordered"]

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


def ordered(dumped: Any, plain: object) -> Any:
    """What was dumped, with the lists in order that were sets in ``plain``; both have equal orders else."""
    return _sorted(dumped, _sets_in([plain]))


def in_order(found: Iterable[Any]) -> list[Any]:
    """What was dumped of a set's members."""
    dumped = list(found)
    try:
        return sorted(dumped, key=lambda one: (one, repr(one)))
    except TypeError:  # of several types, or of one that JSON has no order of
        return sorted(dumped, key=repr)


def _sets_in(candidates: Iterable[Any]) -> _Sets | None:
    """Where any of these, which may stand in one place, have sets."""
    inside_sets = [member for one in candidates if isinstance(one, _SETS) for member in one]
    if inside_sets or any(isinstance(one, _SETS) for one in candidates):
        inner = _sets_in(inside_sets)
        return _Sets(True, {} if inner is None else {0: inner})
    places: dict[_Step, list[Any]] = {}
    for one in candidates:
        for step, member in _steps(one):
            if not isinstance(member, str | int | float | None):
                places.setdefault(step, []).append(member)
    found = ((step, _sets_in(standing)) for step, standing in places.items())
    inside = {step: sets for step, sets in found if sets is not None}
    return _Sets(False, inside) if inside else None


def _steps(value: Any) -> Iterable[tuple[_Step, Any]]:
    if isinstance(value, dict):
        return ((name if type(name) is str else at, one) for at, (name, one) in enumerate(value.items()))
    if isinstance(value, list | tuple | deque):
        return enumerate(value)
    return ((alias_of(value, name), member) for name, member in members(value))


def _sorted(dumped: Any, sets: _Sets | None) -> Any:
    if sets is None:
        return dumped
    if isinstance(dumped, dict):
        found = enumerate(dumped.items())
        return {name: _sorted(one, sets.inside.get(name, sets.inside.get(at))) for at, (name, one) in found}
    if not isinstance(dumped, list | tuple):
        return dumped
    if not sets.is_set:
        return [_sorted(one, sets.inside.get(at)) for at, one in enumerate(dumped)]
    return in_order(_sorted(one, sets.inside.get(0)) for one in dumped)
