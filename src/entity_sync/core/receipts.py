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

    __slots__ = ("_covered", "_denied", "_running", "_waiting", "count")

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[str, None] = {}
        self._running: dict[str, None] = {}
        self._denied: dict[str, None] = {}
        self._covered: deque[str] = deque(maxlen=_KEPT)

    def recall(
        self,
        before: Iterable[str],
        after: Iterable[str],
        *,
        is_loading: bool,
        is_loaded: bool,
        is_denied: bool,
    ) -> None:
        """Know these too, of notifies from before anybody asked.

        Args:
            before, after: tokens of what was noted before the last load began, and after.
            is_loading: that load runs.
            is_loaded: it had a result.
            is_denied: what is shown is denied.
        """
        self.add(before)
        if is_loading or is_loaded:
            self.started()
        if is_loaded:
            self.succeeded(is_denied=is_denied)
        self.add(after)

    def learn(self, before: Iterable[str], after: Iterable[str], *, was_denied: bool) -> None:
        """Know these too, of what the load that runs found the view to depend on, as it ends.

        Args:
            before, after: tokens of what was noted before that load began, and after.
            was_denied: what was shown until now is denied, so the former are of that time.
        """
        covered = set(self._covered)
        found = dict.fromkeys(token for token in before if token not in covered)
        if was_denied:
            self._denied = _newest({**found, **self._denied})
        else:
            self._running = _newest({**found, **self._running})
        self.add(after)

    def add(self, tokens: Iterable[str]) -> None:
        """The next load covers these."""
        self._waiting = _newest({**self._waiting, **dict.fromkeys(tokens)})

    def started(self) -> None:
        """A load begins."""
        self._running, self._waiting = self._waiting, {}

    def postponed(self) -> None:
        """It gave nothing that may be told, and another one may follow."""
        later, self._waiting, self._running = self._waiting, self._running, {}
        self.add(later)

    def succeeded(self, *, is_denied: bool = False, is_gone: bool = False) -> bool:
        """It has a result; whether that covers any token.

        What is denied covers none, nor is any told from before. They, and those of that time, are told with
        rows, should they be seen later, and not with the word that they are gone: it would say how often what
        was forbidden changed.
        """
        if is_denied:
            self._denied = _newest({**dict.fromkeys(self._covered), **self._denied, **self._running})
            self._running = {}
            self._covered.clear()
        else:
            if not is_gone:
                self._running = {**self._denied, **self._running}
            self._denied = {}
        covers = bool(self._running)
        self._covered += self._running
        self.count += len(self._running)
        self._running = {}
        return covers

    def since(self, count: int) -> tuple[str, ...]:
        """What was covered after the first ``count`` tokens, as far as it is kept."""
        fresh = min(self.count - count, len(self._covered))
        return tuple(self._covered)[len(self._covered) - fresh :]


def _newest(tokens: dict[str, None]) -> dict[str, None]:
    return tokens if len(tokens) <= _KEPT else dict.fromkeys([*tokens][-_KEPT:])
