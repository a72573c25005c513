"""What one connection still has to be told: answers in order, and marks instead of states.

A slow connection keeps marks, never frames of states, so its memory does not grow with what
changes, and what it gets in the end is the newest (conflation).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from entity_sync.core.frame import Frame
from entity_sync.model import Wire

__all__ = ["Mark", "Outbox", "Overflow"]


class Overflow(Exception):
    """More answers wait for a client than it may leave unread."""


class Mark:
    """Something that may have news for a connection, worked out only when it can take it.

    Attributes:
        outbox: where it is marked.
    """

    __slots__ = ("outbox",)

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    def take(self, now: float) -> list[Frame]:  # noqa: ARG002 - for what has an age
        """The frames that bring the client to the newest state; none where it is there.

        Args:
            now: seconds of the clock.
        """
        return []


class Outbox:
    """Answers and marks of one connection.

    Attributes:
        wire: the connection's wire.
        blocked: the connection cannot take bytes now.
        suspended: states are withheld (who the session is, is being decided); answers are not.
        queued: somebody is about to flush it.
        marks: what has news, in the order of the first mark.
        lacking: marks whose news is not at hand: they are marked again when it is.
        last: is to be taken behind all news, also that which is not at hand.
        write: sends frames to the client in one write where that is possible; None while nobody
            serves it.
    """

    __slots__ = (
        "_answers", "_limit", "_waiting", "blocked", "lacking", "last", "marks", "queued", "suspended",
        "wire", "write",
    )  # fmt: skip

    def __init__(self, wire: Wire, limit: int) -> None:
        self.wire: Wire = wire
        self.blocked = False
        self.suspended = False
        self.queued = False
        self._limit = limit
        self._answers: list[Frame] = []
        self._waiting = 0
        self.marks: dict[Mark, None] = {}
        self.lacking: dict[Mark, None] = {}
        self.last: Mark | None = None
        self.write: Callable[[list[Frame]], None] | None = None

    @property
    def idle(self) -> bool:
        """Whether a flush would bring nothing now."""
        return self.blocked or not (self._answers or (self.marks and not self.suspended))

    def put(self, answer: Frame) -> None:
        """Add an answer behind those that wait; where none does, however long it is.

        Raises:
            Overflow: more than ``limit`` bytes would wait.
        """
        if self._answers and self._waiting + len(answer) > self._limit:
            raise Overflow
        self._waiting += len(answer)
        self._answers.append(answer)

    def mark(self, mark: Mark) -> bool:
        """Remember that there is news; a second mark of the same changes nothing.

        Returns:
            whether a flush could bring it, and nobody is about to.
        """
        self.marks[mark] = None
        return not (self.queued or self.blocked or self.suspended)

    def forget(self, mark: Mark) -> None:
        """There is no news any more."""
        self.marks.pop(mark, None)
        self.lacking.pop(mark, None)

    def take(self, budget: int, now: float) -> list[Frame]:
        """The answers, then the newest states up to about ``budget`` bytes; marks left over stay.

        Args:
            now: seconds of the clock.
        """
        marks = self.marks
        if len(marks) == 1 and not self._answers and not self.suspended:
            frames = marks.popitem()[0].take(now)  # what a fan-out of one change does, a thousand times
            return frames if self.last is None else frames + self._take_last(now)
        frames, self._answers = self._answers, []
        size, self._waiting = self._waiting, 0
        if self.suspended:
            return frames
        done = 0
        for mark in marks:
            if size >= budget:
                break
            done += 1
            for frame in mark.take(now):
                frames.append(frame)
                size += len(frame)
        # All at once: taking the first entry of a dict again and again walks over those taken before.
        self.marks = dict.fromkeys(islice(marks, done, None))
        return frames + self._take_last(now)

    def _take_last(self, now: float) -> list[Frame]:
        return [] if self.last is None or self.marks or self.lacking else self.last.take(now)
