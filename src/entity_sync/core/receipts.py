"""Which notifies a view's state covers, so that who waits for one can be told."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import inf

__all__ = ["MAX_CAUSES", "Receipts"]

MAX_CAUSES = 8
"""Tokens that one Change carries: of notifies that became one, the newest."""
_KEPT = 64


class Receipts:
    """The tokens of the notifies that concern one view.

    A notify is covered once a load that began after it has a result; where a replica may lack it, once one
    has that began so late that it cannot. Kept are the newest 64 tokens, each with that moment.

    Attributes:
        count: tokens covered so far.
    """

    __slots__ = ("_began", "_covered", "_denied", "_running", "_waiting", "count")

    def __init__(self) -> None:
        self.count = 0
        self._began = inf
        self._waiting: dict[str, float] = {}
        self._running: dict[str, float] = {}
        self._denied: dict[str, float] = {}
        self._covered: deque[str] = deque(maxlen=_KEPT)

    def recall(
        self,
        before: Mapping[str, float],
        after: Mapping[str, float],
        *,
        began: float,
        is_loading: bool,
        is_loaded: bool,
        is_denied: bool,
    ) -> None:
        """Know these too, of notifies from before anybody asked.

        Args:
            before, after: tokens of what was noted before the last load began, and after, as in `add`.
            began: when that was.
            is_loading: that load runs.
            is_loaded: it had a result.
            is_denied: what is shown is denied.
        """
        self._wait(before)
        if is_loading or is_loaded:
            self.started(began)
        if is_loaded:
            self.succeeded(is_denied=is_denied)
        self._wait(after)

    def learn(self, before: Mapping[str, float], after: Mapping[str, float], *, was_denied: bool) -> None:
        """Know these too, of what the load that runs found the view to depend on, as it ends.

        Args:
            before, after: tokens of what was noted before that load began, and after, as in `add`.
            was_denied: what was shown until now is denied, so the former are of that time.
        """
        covered = set(self._covered)
        found = {token: since for token, since in before.items() if token not in covered}
        if was_denied:
            self._denied = _newest({**found, **self._denied})
        else:
            self._running = _newest({**found, **self._running})
        self._wait(after)

    def add(self, tokens: Iterable[str], since: float = -inf) -> None:
        """The next load covers these, if it begins at ``since``, in seconds of the clock, or later."""
        self._wait(dict.fromkeys(tokens, since))

    def _wait(self, tokens: Mapping[str, float]) -> None:
        waiting = self._waiting
        later = {token: max(since, waiting.get(token, since)) for token, since in tokens.items()}
        self._waiting = _newest({**waiting, **later})

    def started(self, now: float = inf) -> None:
        """A load begins, at this moment."""
        self._began = now
        self._running, self._waiting = self._waiting, {}

    def postponed(self) -> None:
        """It gave nothing that may be told, and another one may follow."""
        later, self._waiting, self._running = self._waiting, self._running, {}
        self._wait(later)

    def succeeded(self, *, is_denied: bool = False, is_gone: bool = False) -> bool:
        """It has a result; whether that covers any token.

        What is denied covers none, nor is any told from before. They, and those of that time, are told with
        rows, should they be seen later, and not with the word that they are gone: it would say how often what
        was forbidden changed.
        """
        if is_denied:
            self._denied = _newest({**dict.fromkeys(self._covered, -inf), **self._denied, **self._running})
            self._running = {}
            self._covered.clear()
        else:
            if not is_gone:
                self._running = {**self._denied, **self._running}
            self._denied = {}
        covered = [token for token, since in self._running.items() if since <= self._began]
        self._covered += covered
        self.count += len(covered)
        for token in covered:
            del self._running[token]
        self.postponed()  # the others
        return bool(covered)

    def since(self, count: int) -> tuple[str, ...]:
        """What was covered after the first ``count`` tokens, as far as it is kept."""
        fresh = min(self.count - count, len(self._covered))
        return tuple(self._covered)[len(self._covered) - fresh :]


def _newest(tokens: dict[str, float]) -> dict[str, float]:
    return tokens if len(tokens) <= _KEPT else {token: tokens[token] for token in [*tokens][-_KEPT:]}
