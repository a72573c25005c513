"""How many bytes views hold together, and which of them give up their rows when those are too many."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import msgspec

__all__ = ["Memory"]

_Holder = TypeVar("_Holder", bound=Hashable)


class _Size(msgspec.Struct, gc=False):
    """Bytes that a view holds, and those of them that it keeps; changed in place, as views change often."""

    held: int = 0
    kept: int = 0


class Memory(Generic[_Holder]):
    """The bytes of all views of a process, and a ceiling for them.

    Over the ceiling, those that were used longest ago are reduced. What was used last never is, so that the
    ceiling is exceeded by no more than one view.

    Attributes:
        total: bytes held.
        recall: called with a view whose rows are to be sent and are not held.
    """

    def __init__(
        self, ceiling: int, reduce: Callable[[_Holder], None], recall: Callable[[_Holder], None]
    ) -> None:
        """
        Args:
            ceiling: bytes.
            reduce: has a view hold no more than what it keeps.
        """
        self.total = 0
        self.recall = recall
        self._ceiling = ceiling
        self._reduce = reduce
        self._kept = 0
        self._sizes: dict[_Holder, _Size] = {}
        self._reducible: OrderedDict[_Holder, None] = OrderedDict()  # the first was used longest ago

    def hold(self, holder: _Holder, held: int, kept: int) -> None:
        """A view is used now.

        Args:
            held: bytes it holds from now on.
            kept: those of them that it would still hold if it were reduced.
        """
        self._account(holder, held, kept)
        while self.total > self._ceiling:
            oldest = next(iter(self._reducible), holder)
            if oldest is holder:
                return
            self._reduce(oldest)
            kept = self._sizes[oldest].kept
            self._account(oldest, kept, kept)

    def touch(self, holder: _Holder) -> None:
        """A view is used now."""
        if holder in self._reducible:
            self._reducible.move_to_end(holder)

    def fits(self, holder: _Holder, needed: int) -> bool:
        """Whether a view may hold so many bytes, were all others reduced."""
        size = self._sizes.get(holder)
        kept = 0 if size is None else size.kept
        return self._kept - kept + needed <= self._ceiling

    def forget(self, holder: _Holder) -> None:
        """A view is no more."""
        size = self._sizes.pop(holder, None)
        if size is not None:
            self.total -= size.held
            self._kept -= size.kept
            self._reducible.pop(holder, None)

    def _account(self, holder: _Holder, held: int, kept: int) -> None:
        size = self._sizes.get(holder)
        if size is None:
            size = self._sizes[holder] = _Size()
        self.total += held - size.held
        self._kept += kept - size.kept
        size.held, size.kept = held, kept
        if held <= kept:
            self._reducible.pop(holder, None)
        else:
            self._reducible[holder] = None
            self._reducible.move_to_end(holder)  # and not out and in: every so often that is a new table
