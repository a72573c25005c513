"""Holding what loads give to the revisions that were notified and shown, and saying where that fails."""

from __future__ import annotations

import logging

from entity_sync.clock import Clock
from entity_sync.core.fence import Fence
from entity_sync.core.view import View
from entity_sync.errors import LoadFailed
from entity_sync.hub.parting import Outcome

__all__ = ["Fences"]

_log = logging.getLogger("entity_sync.loads")


class Fences:
    """The fences of a node's views at work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._missed = 0

    def judged(self, view: View, outcome: Outcome) -> Outcome:
        """The outcome, or why it is too old to be shown."""
        fence = view.fence
        if fence is None or isinstance(outcome, LoadFailed):
            return outcome
        missed = fence.missed
        objection = fence.judge(outcome, view.began, self._clock.now())
        if objection is not None:
            return LoadFailed(f"what it read is behind: {objection}", retryable=True)
        if fence.missed not in (0, missed):
            self._note(view, fence)
        return outcome

    def _note(self, view: View, fence: Fence) -> None:
        self._missed += 1
        if self._missed.bit_count() == 1:  # 1, 2, 4, 8 …: a flood of forged ones cannot fill the log
            _log.warning(
                "revision %d of %s was notified or shown, and loads do not find it: the notify was wrong, "
                "the row was made anew unheard, or the replica is further behind than Settings.replica_lag. "
                "What they find is shown (%d so far)",
                fence.missed,
                view.key,
                self._missed,
            )
