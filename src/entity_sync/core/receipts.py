"""Which notifies a view's state covers, so that who waits for one can be told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

__all__ = ["MAX_CAUSES", "Receipts"]

MAX_CAUSES = 8
"""Tokens that one Change carries: of notifies that became one, the newest."""
_KEPT = 64


class Receipts:
    """The tokens of the notifies that concern one view.

    A notify is covered once a load that began after it has a result. Kept are the newest 64 tokens.

    Attributes:
        count: tokens covered so far.
    """

    __slots__ = ("_covered", "_running", "_waiting", "count")

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[str, None] = {}
        self._running: dict[str, None] = {}
        self._covered: deque[str] = deque(maxlen=_KEPT)

    def recall(
        self, before: Iterable[str], after: Iterable[str], *, is_loading: bool, is_loaded: bool
    ) -> None:
        """Know these too, of notifies from before anybody asked.

        Args:
            before, after: tokens of what was noted before the last load began, and after.
            is_loading: that load runs.
            is_loaded: it had a result.
        """
        self.add(before)
        if is_loading or is_loaded:
            self.started()
        if is_loaded:
            self.succeeded()
        self.add(after)

    def add(self, tokens: Iterable[str]) -> None:
        """The next load covers these."""
        for token in tokens:
            self._waiting[token] = None
        while len(self._waiting) > _KEPT:
            del self._waiting[next(iter(self._waiting))]

    def started(self) -> None:
        """A load begins."""
        self._running, self._waiting = self._waiting, {}

    def postponed(self) -> None:
        """It gave nothing that may be told, and another one may follow."""
        later, self._waiting, self._running = self._waiting, self._running, {}
        self.add(later)

    def succeeded(self, *, is_denied: bool = False) -> bool:
        """It has a result; whether that covers any token, which what is denied never does."""
        if is_denied:
            self.postponed()
        covers = bool(self._running)
        self._covered += self._running
        self.count += len(self._running)
        self._running = {}
        return covers

    def since(self, count: int) -> tuple[str, ...]:
        """What was covered after the first ``count`` tokens, as far as it is kept."""
        fresh = min(self.count - count, len(self._covered))
        return tuple(self._covered)[len(self._covered) - fresh :]
