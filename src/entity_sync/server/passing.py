"""Messages that are the application's: handed over one at a time, their answers sent back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from entity_sync.clock import is_cancelled
from entity_sync.core.effects import Refused
from entity_sync.core.messages import Ack, Downward, Error, Ref
from entity_sync.hub.node import OnMessage
from entity_sync.hub.tasks import Tasks
from entity_sync.model import ClientMessage

__all__ = ["Passing"]

_log = logging.getLogger("entity_sync.on_message")
_encode = msgspec.json.Encoder(order="deterministic").encode


class Passing:
    """One connection's messages on their way to ``on_message``, in order."""

    def __init__(
        self,
        function: OnMessage | None,
        tasks: Tasks,
        answer: Callable[[Downward], None],
        reply: Callable[[bytes, Ref], None],
        taken: Callable[[], None],
    ) -> None:
        """
        Args:
            answer: sends an ack or an error.
            reply: sends what the application answered.
            taken: called whenever fewer messages wait.
        """
        self._function = function
        self._tasks = tasks
        self._answer = answer
        self._reply = reply
        self._taken = taken
        self._waiting: list[tuple[ClientMessage, Ref]] = []  # few, and an empty deque takes 760 bytes
        self._under_way: asyncio.Task[None] | None = None
        self._ref: Ref = msgspec.UNSET  # of the message under way

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        """Whether ``on_message`` has not answered all of them yet."""
        return self._under_way is not None

    def put(self, message: ClientMessage, ref: Ref) -> None:
        """Hand a message over as soon as those before it are answered."""
        if self._function is None:
            text = "this server takes no messages"
            self._answer(Error(code="unsupported", text=text, retryable=False, ref=ref))
            return
        self._waiting.append((message, ref))
        if self._under_way is None:
            self._start(self._function)

    def dismiss(self, why: Refused) -> None:
        """Answer those that wait with this refusal: whoever sent them is nobody now."""
        waiting, self._waiting = self._waiting, []
        for _, ref in waiting:
            self._answer(Error(code=why.code, text=why.text, retryable=why.retryable, ref=ref))
        if waiting:
            self._taken()

    def close(self) -> None:
        """The client is gone."""
        self._waiting.clear()
        self._under_way = None

    def _start(self, function: OnMessage) -> None:
        self._under_way = self._tasks.start(self._run(function))
        self._under_way.add_done_callback(partial(self._ended, function))

    async def _run(self, function: OnMessage) -> None:
        while self._waiting:
            message, self._ref = self._waiting.pop(0)
            self._taken()
            try:
                answer = _json(await function(message))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                if isinstance(error, asyncio.CancelledError) and is_cancelled():
                    raise  # the connection ends, or the function ended this task
                self._failed(error)
            else:
                self._acknowledge(answer, self._ref)
            if is_cancelled():  # by the function, which answered all the same
                break  # what waits gets a task that is not
        self._under_way = None
        if self._waiting:
            self._start(function)

    def _ended(self, function: OnMessage, task: asyncio.Task[None]) -> None:
        if self._under_way is not task:
            return
        self._under_way = None  # in the middle of a message, and not by us
        self._failed(asyncio.CancelledError("on_message cancelled its own task"))
        if self._waiting:
            self._start(function)

    def _failed(self, error: BaseException) -> None:
        _log.warning("on_message raised %s", type(error).__name__, exc_info=error)
        self._answer(Error(code="failed", text="the application failed", retryable=False, ref=self._ref))

    def _acknowledge(self, answer: bytes | None, ref: Ref) -> None:
        if answer is None:
            self._answer(Ack(ref=ref))
        else:
            self._reply(answer, ref)


def _json(answer: Any) -> bytes | None:
    if answer is None:
        return None
    if isinstance(answer, bytes):
        msgspec.json.decode(answer)
        return answer
    return _encode(answer)
