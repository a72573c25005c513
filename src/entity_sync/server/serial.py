"""What one connection does, one thing after the other."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Serial"]


class Serial:
    """Does what it is told at once, but nothing in the middle of something else.

    The application is asked in the middle of much. What it does meanwhile may concern the same connection, as
    a revocation of whom it is asked about: it would change what is being gone through, and the rest of that
    would undo it.
    """

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: list[Callable[[], object]] | None = None  # None while nothing is under way

    def do(self, work: Callable[[], object]) -> None:
        """Do it now; from within something else, as soon as that has ended, before its `do` returns.

        Each is done although one before it raised.
        """
        if self._due is not None:
            self._due.append(work)
            return
        self._due = [work]
        rest = iter(self._due)
        try:
            for each in rest:
                each()
        finally:
            self._due = None
            for each in rest:
                self.do(each)
