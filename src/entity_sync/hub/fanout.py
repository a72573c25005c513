"""Getting news out: connections that have any are flushed once per turn of the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from entity_sync.clock import Clock
from entity_sync.core.frame import Frame
from entity_sync.core.outbox import Mark, Outbox, Overflow

__all__ = ["Fanout", "Sink"]

_SLICE = 256  # connections written before other work of the loop gets its turn
_BUDGET = 65_536  # bytes handed to one connection in one write


class Sink(Protocol):
    """Where an outbox is flushed to: one connection."""

    outbox: Outbox

    def write(self, frames: list[Frame]) -> None:
        """Send these messages, in order, in one write where the transport can."""
        ...

    def fail(self, error: Exception) -> None:
        """Some of what it is to be told is lost: end the connection, its client comes back and asks."""
        ...


class Fanout:
    """Writes what the outboxes hold, merged per connection and sliced so that nobody waits long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready: deque[Outbox] = deque()
        self._outboxes: dict[Outbox, Sink] = {}
        self._scheduled = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written that could be."""
        return not self._ready

    def outboxes(self) -> list[Outbox]:
        """The open connections' outboxes."""
        return list(self._outboxes)

    def open(self, sink: Sink) -> None:
        """Flush this connection from now on."""
        sink.outbox.write = sink.write
        self._outboxes[sink.outbox] = sink

    def tell(self, frame: Frame) -> None:
        """Send every v2 session that can take it a frame that is worth nothing later."""
        for outbox in self.outboxes():
            if outbox.wire == "v2" and not outbox.blocked:
                self.answer(outbox, frame)

    def answer(self, outbox: Outbox, frame: Frame) -> bool:
        """Send one session a frame; False when too many wait for it already."""
        try:
            outbox.put(frame)
        except Overflow:
            if not self.empty(outbox):
                return False
            outbox.put(frame)
        self.wake(outbox)
        return True

    def close(self, sink: Sink) -> None:
        """Never write to this connection again."""
        sink.outbox.write = None
        self._outboxes.pop(sink.outbox, None)

    def mark(self, mark: Mark) -> None:
        """There is news for a connection."""
        if mark.outbox.mark(mark):
            self._enqueue(mark.outbox)

    def wake(self, outbox: Outbox) -> None:
        """Flush this outbox soon, if it holds anything and its connection can take it."""
        if not (outbox.queued or outbox.idle):
            self._enqueue(outbox)

    def empty(self, outbox: Outbox) -> bool:
        """Write the answers that wait now, if the connection can take them: it is not slow then."""
        if outbox.blocked or outbox.write is None:
            return False
        outbox.write(outbox.take(0, self._clock.now()))
        return True

    def _enqueue(self, outbox: Outbox) -> None:
        outbox.queued = True
        self._ready.append(outbox)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        ready, now = self._ready, self._clock.now()
        try:
            for _ in range(min(_SLICE, len(ready))):
                outbox = ready.popleft()
                outbox.queued = False
                if outbox.blocked or outbox.write is None:
                    continue
                try:
                    if frames := outbox.take(_BUDGET, now):
                        outbox.write(frames)
                except Exception as error:  # noqa: BLE001 - whatever it is, nobody shows old rows unaware of it
                    self._fail(outbox, error)
                    continue
                if outbox.marks:
                    self.wake(outbox)
        finally:  # what ends the process goes to the loop, and the others get their turn
            self._scheduled = bool(ready)
            if ready:
                asyncio.get_running_loop().call_soon(self._flush)

    def _fail(self, outbox: Outbox, error: Exception) -> None:
        # What was taken counts as sent, and to try again may find the same mistake again, while beats say
        # that all is current: a client that lost its connection knows that it is not.
        sink = self._outboxes[outbox]
        self.close(sink)
        sink.fail(error)
