"""Whether a client may take what it was shown for current, as far as it is not one view that is old."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from entity_sync.clock import Timer
from entity_sync.core.frame import Frame
from entity_sync.core.outbox import Outbox
from entity_sync.core.standing import StandingMark
from entity_sync.hub.node import Node

__all__ = ["Freshness"]


class Freshness:
    """Tells one v2 client when its node may be behind, and when states are withheld from it for long.

    Beats say that whatever changed has been sent. That is not so while the application is asked who somebody
    is, or what they may see: after ``stale_after`` the client is told.
    """

    __slots__ = ("_mark", "_node", "_outbox", "_reasons", "_send", "_since", "_timer")

    def __init__(self, node: Node, outbox: Outbox, send: Callable[[Frame], None]) -> None:
        """
        Args:
            send: sends a frame although states are withheld.
        """
        self._node = node
        self._outbox = outbox
        self._send = send
        self._mark: StandingMark | None = None
        self._reasons: dict[Hashable, None] = {}
        self._since = 0.0
        self._timer: Timer | None = None

    def begin(self) -> None:
        """The client wants states: before, it is told nothing."""
        if self._mark is None and self._outbox.wire == "v2":
            self._mark = StandingMark(self._node.standing, self._outbox)
            self._mark.is_withheld = bool(self._reasons)
            self.inform()

    def inform(self) -> None:
        """The node's standing changed, or what was withheld is not any more."""
        if self._mark is not None:
            self._node.hub.fanout.mark(self._mark)

    def withhold(self, reason: Hashable) -> None:
        """States are withheld from now on for this reason, perhaps for others too."""
        if not self._reasons:
            clock, patience = self._node.application.clock, self._node.application.settings.stale_after
            self._since = clock.now()
            self._timer = clock.call_later(patience, self.doubt)
        self._reasons[reason] = None
        if self._mark is not None:
            self._mark.is_withheld = True

    def release(self, reason: Hashable) -> None:
        """They are not any more for this reason."""
        if reason not in self._reasons:
            return
        del self._reasons[reason]
        if self._reasons:
            if self._timer is None:  # it was over before there was anybody to tell
                self.doubt()
            return
        self._cancel()
        if self._mark is not None:
            self._mark.is_withheld = False
            if self._mark.is_told:
                self.inform()  # `fresh` follows the states that were withheld

    def doubt(self) -> None:
        """The application could not tell, or has not for long: the client is told at once."""
        self._cancel()
        if self._mark is not None:
            for frame in self._mark.doubt(self._since, self._node.application.clock.now()):
                self._send(frame)

    def close(self) -> None:
        """The client is gone: whatever is withheld or released from now on, there is nobody to tell."""
        self._cancel()
        self._mark = None
        self._reasons.clear()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
