"""Commands on their way to nsqd, and who waits for their answers: nsqd answers in order."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from entity_sync.brokers.nsq import protocol
from entity_sync.errors import BrokerUnavailable

__all__ = ["Exchange"]

_Future = asyncio.Future[bytes]


@dataclass(slots=True)
class _Batch:
    """What one command is going to publish to a topic, and who waits for it."""

    bodies: list[bytes]
    futures: list[_Future]
    size: int = 0


class Exchange:
    """Joins what one turn of the loop sends, and hands each answer to whom it belongs.

    A waiter that gives up keeps its place: the answer that comes for it must not go to the next one.
    """

    def __init__(self, patience: float) -> None:
        """
        Args:
            patience: seconds after which an answer is overdue.
        """
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._waiting: deque[tuple[list[_Future], float]] = deque()
        self._batches: dict[bytes, _Batch] = {}
        self._commands: list[bytes] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be sent and no answer is due."""
        return not (self._waiting or self._batches or self._commands)

    @property
    def due(self) -> float:
        """The loop's time when the oldest answer is overdue; infinite when none is awaited."""
        return self._waiting[0][1] if self._waiting else math.inf

    @property
    def futures(self) -> list[_Future]:
        """Everyone who waits."""
        groups = [futures for futures, _ in self._waiting] + [one.futures for one in self._batches.values()]
        return [future for futures in groups for future in futures]

    def send(self, command: bytes) -> None:
        """Send a command that is not answered, or whose answer is `expect`ed next."""
        self._commands.append(command)

    def expect(self) -> _Future:
        """The answer to what was sent last."""
        future: _Future = self._loop.create_future()
        self._wait([future])
        return future

    def publish(self, topic: bytes, bodies: Sequence[bytes]) -> _Future:
        """Publish, in one command with what else is published to the topic until `take`."""
        future: _Future = self._loop.create_future()
        batch = self._batches.get(topic)
        if batch is None:
            batch = self._batches[topic] = _Batch([], [])
        batch.bodies.extend(bodies)
        batch.futures.append(future)
        batch.size += sum(map(len, bodies))
        if batch.size > protocol.MAX_BATCH_BYTES or len(batch.bodies) > protocol.MAX_BATCH_COUNT:
            self._complete(topic)
        return future

    def take(self) -> bytes:
        """What is to be written now."""
        for topic in list(self._batches):
            self._complete(topic)
        data = b"".join(self._commands)
        self._commands.clear()
        return data

    def answer(self, answer: bytes | BrokerUnavailable) -> bool:
        """Take an answer of nsqd; False when nobody waits for one."""
        if not self._waiting:
            return False
        for future in self._waiting.popleft()[0]:
            if future.done():
                continue
            if isinstance(answer, bytes):
                future.set_result(answer)
            else:
                future.set_exception(BrokerUnavailable(str(answer)))
        return True

    def fail(self, error: BrokerUnavailable) -> None:
        """No answer will come any more."""
        self.take()
        while self.answer(error):
            pass

    def _complete(self, topic: bytes) -> None:
        batch = self._batches.pop(topic)
        self._commands.append(protocol.publish(topic, batch.bodies))
        self._wait(batch.futures)

    def _wait(self, futures: list[_Future]) -> None:
        self._waiting.append((futures, self._loop.time() + self._patience))
