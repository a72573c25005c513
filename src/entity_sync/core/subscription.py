"""(session, view): what one client was told of one view, and what it has to be told next.

A subscription never holds frames of states. It remembers what it sent last, and when its
connection can take something it compares that with the view: the newest state wins, however
many were missed.
"""

from __future__ import annotations

from math import inf
from typing import TypeAlias

from entity_sync.core.frame import Frame
from entity_sync.core.loadstate import Cause
from entity_sync.core.outbox import Mark, Outbox
from entity_sync.core.view import View

__all__ = ["ClassicSubscription", "Subscription", "V2Subscription"]


class V2Subscription(Mark):
    """A v2 session's subscription.

    Attributes:
        view: what is watched.
        after: only a state from a load begun after this ticket may be sent, or the one that is held.
        not_before: seconds of the clock; as ``after``, for what a load from a replica may lack till then.
        owed: the client asked and gets an answer even if it was told this state before.
        withheld: nothing is told while it is decided whether the client may see it.
        wants_causes: it is told which notifies a state covers.
    """

    __slots__ = (
        "_caused", "_is_stale", "_rev", "_told", "_version", "_was_stale", "after", "not_before", "owed",
        "view", "wants_causes", "withheld",
    )  # fmt: skip

    def __init__(self, view: View, outbox: Outbox) -> None:
        super().__init__(outbox)
        self.view = view
        self.after = -1
        self.not_before = -inf
        self.owed = False
        self.withheld = False
        self.wants_causes = False
        self._caused = 0
        self._rev = 0
        self._version: str | None = None
        self._told: str | None = None  # which kind of failure, since the client last asked
        self._is_stale = False  # what the client says of the view until a fresh
        self._was_stale = False  # what it said once

    def ask(self, version: str | None) -> None:
        """The client wants the state, and holds ``version`` of it, or nothing."""
        self._rev = 0
        self._version = version
        self.owed = True
        self._told = None

    def ask_from(self, rev: int) -> None:
        """The client wants the state, and holds the rows of this rev of the view, if there was one."""
        self.ask(None)
        self._rev = rev if 0 < rev <= self.view.rev else 0

    def ask_causes(self) -> None:
        """The client wants to know which notifies a state covers, those that the view knows included."""
        if not self.wants_causes:
            self.wants_causes, self._caused = True, 0

    def ask_again(self) -> None:
        """The client may have discarded what was sent to it: tell it again where the view stands."""
        self._rev = self._caused = 0
        self.owed = True
        self._told = None
        self._is_stale = self._was_stale  # a fresh, and the state that names its view, may be discarded too

    def replace(self, other: V2Subscription) -> None:
        """The client watches this view instead: what it says of the other one is said of this one."""
        self._is_stale = self._was_stale = other._was_stale

    def take(self, now: float) -> list[Frame]:
        """`Mark.take`."""
        if self.withheld:
            return []
        view, lacking = self.view, self.outbox.lacking
        if lacking:
            lacking.pop(self, None)
        frames = self._states()
        has_state = not self.owed and self._rev == view.rev and self._is_late_enough
        if self.wants_causes and has_state and view.receipts is not None:
            frames += view.covering(self._caused)
            self._caused = view.receipts.count
        if view.failure is not None and view.failure.kind != self._told:
            frames.append(view.failure.frame(now))
            self._told = view.failure.kind
            self._is_stale = self._was_stale = True
        elif view.failure is None and self._is_stale and not self.owed and self._rev == view.rev:
            frames.append(view.fresh)
            self._told, self._is_stale = None, False
        return frames

    @property
    def _is_late_enough(self) -> bool:
        return self.view.ticket > self.after and self.view.as_of >= self.not_before

    def _states(self) -> list[Frame]:
        view = self.view
        is_behind = self.owed or self._rev != view.rev
        is_held = self._version == view.version or (self.owed and self._rev == view.rev)
        if not is_behind or view.version is None or not (is_held or self._is_late_enough):
            if self.owed and view.failure is None:
                self.outbox.lacking[self] = None
            return []
        if is_held:
            frames = [view.current]
        elif view.loaded is None:
            view.recall()
            if view.failure is None:
                self.outbox.lacking[self] = None
            return []
        elif self._rev:
            frames = view.since(self._rev)
        else:
            frames = [view.snapshot]
        self._rev, self._version, self.owed = view.rev, view.version, False
        return frames


class ClassicSubscription(Mark):
    """A classic session's subscription: bare rows, one push for every notify.

    Attributes:
        view: what is watched.
        withheld: nothing is told while it is decided whether the client may see it.
    """

    __slots__ = ("_push", "view", "withheld")

    def __init__(self, view: View, outbox: Outbox) -> None:
        super().__init__(outbox)
        self.view = view
        self.withheld = False
        self._push = view.push

    @property
    def due(self) -> bool:
        """Whether a notify has happened whose push has not been sent."""
        view = self.view
        return self._push != view.push or Cause.NOTIFY in view.causes | view.running_causes

    def ask(self) -> None:
        """Push the view's state even if nothing changes."""
        self._push = -1

    def take(self, now: float) -> list[Frame]:  # noqa: ARG002 - nothing here has an age
        """`Mark.take`."""
        if self.withheld or self.view.version is None or self._push == self.view.push:
            return []
        if self.view.loaded is None:
            self.view.recall()
            return []
        self._push = self.view.push
        return list(self.view.classic)


Subscription: TypeAlias = V2Subscription | ClassicSubscription
