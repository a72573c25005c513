"""Who a client is: asked of the application, and asked again when that is in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

from entity_sync.clock import Timer
from entity_sync.core.effects import Admitted, Authenticate, Refused
from entity_sync.hub.admission import Authenticator, admit, no_answer
from entity_sync.hub.node import Node
from entity_sync.hub.principals import Holder
from entity_sync.hub.tasks import Tasks
from entity_sync.model import ConnectionInfo

__all__ = ["Asking"]


class Asking:
    """The questions about one connection, one at a time."""

    __slots__ = (
        "_asked", "_decided", "_failures", "_holder", "_info", "_is_closed", "_node", "_tasks", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        node: Node,
        info: ConnectionInfo,
        holder: Holder,
        tasks: Tasks,
        decided: Callable[[Admitted | Refused], None],
    ) -> None:
        """
        Args:
            holder: the connection, as `Principals` knows it.
            decided: called with each answer.
        """
        self._node = node
        self._info = info
        self._holder = holder
        self._tasks = tasks
        self._decided = decided
        self._asked: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._failures = 0
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether ``authenticate`` has not answered yet."""
        return self._asked is not None and not self._asked.done()

    def expect(self, overdue: Callable[[], object]) -> None:
        """The client is to say who it is: ``overdue`` is called unless something is asked in time."""
        application = self._node.application
        if application.authenticate is not None:
            self._timer = application.clock.call_later(application.settings.authenticate_timeout, overdue)

    def ask(self, effect: Authenticate) -> None:
        """The answer is told later, or at once where the application asks nobody."""
        self._cancel()
        if not (effect.again and self._failures):
            self._failures = 0
        self._node.principals.ask(self._holder)
        function = self._node.application.authenticate
        if function is None:
            secret = effect.secret or ""
            self._node.principals.enter(self._holder, secret)
            self._decided(Admitted(secret, secret))
        else:
            self._asked = self._tasks.start(self._ask(function, effect))
            self._asked.add_done_callback(self._ended)

    def ask_later(self, again: Callable[[], object]) -> None:
        """The application could not tell: call ``again`` after a while, unless something is asked before."""
        application = self._node.application
        self._failures += 1
        delay = application.settings.retry_after(self._failures) * application.random.uniform(0.5, 1.0)
        self._timer = application.clock.call_later(delay, again)

    def close(self) -> None:
        """The client is gone."""
        self._is_closed = True
        self._cancel()

    async def _ask(self, function: Authenticator, effect: Authenticate) -> None:
        application, principals = self._node.application, self._node.principals
        while True:
            async with self._node.rights.places if effect.again else nullcontext():
                outcome = await admit(
                    function, effect.secret, self._info, application.settings, application.clock
                )
            if self._is_closed:  # an application may swallow the end of this task
                return
            if isinstance(outcome, Refused):
                break
            if principals.enter(self._holder, outcome.key):
                self._failures = 0
                break
            principals.ask(self._holder)  # somebody was revoked while we asked: the answer may be from before
        self._answered(outcome)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._asked is task and not self._is_closed:  # without an answer, and not by us
            self._answered(no_answer("it cancelled its own task"))

    def _answered(self, outcome: Admitted | Refused) -> None:
        self._asked = None
        if isinstance(outcome, Refused):
            self._node.principals.leave(self._holder)
        self._decided(outcome)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
