"""The keys that one connection watches, as far as its principal may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextvars import copy_context
from functools import partial

from entity_sync.clock import Timer
from entity_sync.core.messages import Denied
from entity_sync.core.outbox import Outbox
from entity_sync.core.subscription import Subscription, V2Subscription
from entity_sync.errors import AccessDenied
from entity_sync.hub.node import Node
from entity_sync.hub.rights import Question
from entity_sync.hub.tasks import Tasks
from entity_sync.model import EntityKey
from entity_sync.server.freshness import Freshness
from entity_sync.server.serial import Serial
from entity_sync.server.watched_key import WatchedKey

__all__ = ["Watching"]

_SHARE = 8  # connections that it takes to have all places for questions
_BEFORE_ALL = -1  # a moment since which everything may have changed, what is pushed next included


class Watching:
    """Subscribes what may be seen, and withholds or ends what may not.

    Whatever the application is asked about a key, the newest question counts: an earlier one ends.
    """

    __slots__ = (
        "_again", "_answer", "_freshness", "_node", "_outbox", "_places", "_principal", "_serial", "_tasks",
        "_timer", "_watched",
    )  # fmt: skip

    def __init__(
        self,
        node: Node,
        outbox: Outbox,
        tasks: Tasks,
        serial: Serial,
        freshness: Freshness,
        *,
        answer: Callable[[Denied], None],
    ) -> None:
        """
        Args:
            serial: in it is done, here and by the caller, what changes the keys or asks about them.
        """
        # Whoever asks about keys whose questions hang leaves places for others.
        self._places = asyncio.Semaphore(max(1, node.application.settings.max_questions // _SHARE))
        self._freshness = freshness
        self._node = node
        self._outbox = outbox
        self._tasks = tasks
        self._serial = serial
        self._answer = answer
        self._principal: object = None
        self._watched: dict[EntityKey, WatchedKey] = {}
        self._timer: Timer | None = None
        self._again: Timer | None = None

    def begin(self, principal: object, keys: Collection[EntityKey], causes: Collection[EntityKey]) -> None:
        """The connection speaks for this principal from now on.

        Args:
            causes: of which keys the client wants to know which notifies a state covers.
        """
        self._principal = principal
        self.withhold()  # before the application is asked of the first, who may end all this
        for key in keys:
            watched = self._watched.setdefault(key, WatchedKey(key))
            watched.causes = key in causes
            watched.is_refused = False
            watched.is_moved = watched.subscription is not None
            self._decide(watched, withhold=True)

    def watch(self, key: EntityKey, version: str | None, *, causes: bool) -> None:
        """The client wants a key's state, holding ``version`` of it or nothing.

        Args:
            causes: it wants to know which notifies a state covers.
        """
        watched = self._watched.setdefault(key, WatchedKey(key))
        watched.version = version
        watched.causes = causes
        if watched.subscription is None:
            watched.is_refused = False
            if watched.question is None:
                self._decide(watched)
        elif isinstance(watched.subscription, V2Subscription):
            self._node.hub.ask(watched.subscription, version)
            self._ask_causes(watched)

    def forget(self, keys: Collection[EntityKey]) -> None:
        """The client wants these no longer."""
        for key in keys:
            watched = self._watched.pop(key, None)
            if watched is not None:
                self._ask_no_more(watched)
                self._freshness.release(watched)
                self._unsubscribe(watched)

    def close(self) -> None:
        """The client wants nothing any more."""
        self.forget(tuple(self._watched))
        for timer in (self._timer, self._again):
            if timer is not None:
                timer.cancel()

    def repeat(self, view: int, rev: int) -> bool:
        """Send what leads from a rev of the view with this number to the newest; False where none has it."""
        found = self._node.hub.views.numbered(view)
        watched = None if found is None else self._watched.get(found.key)
        if watched is None or watched.subscription is None or watched.subscription.view is not found:
            return False
        self._node.hub.repeat(watched.subscription, rev)
        return True

    def asked(self) -> set[str]:
        """The entities whose ``authorize`` has not answered yet."""
        return {key.entity for key, watched in self._watched.items() if watched.question is not None}

    def withhold(self) -> None:
        """Send nothing of any key until who may see what has been asked again."""
        for watched in self._watched.values():
            if watched.subscription is not None:
                watched.subscription.withheld = True

    def reauthorize(self) -> None:
        """Ask again about every key, meanwhile sending nothing of them."""
        for watched in list(self._watched.values()):
            if self._node.rights.guards(watched.key.entity):
                self._decide(watched, withhold=True)
            elif watched.subscription is not None:
                self._release(watched.subscription)
            else:  # `per=` refused it, perhaps for what is over
                self._decide(watched)

    # One key

    def _decide(self, watched: WatchedKey, *, withhold: bool = False) -> None:
        self._node.rights.apart(partial(self._ask, watched, withhold=withhold))

    def _ask(self, watched: WatchedKey, *, withhold: bool) -> None:
        if watched.question is None and not watched.failures:  # else the client waits since an earlier one
            watched.asked = self._node.hub.recent.moment
        self._ask_no_more(watched)
        if not self._node.rights.guards(watched.key.entity):
            self._grant(watched)
            return
        self._watch_the_clock()
        if watched.subscription is not None and withhold:
            watched.subscription.withheld = True
        answer = self._node.rights.ask(self._principal, watched.key)
        if answer is None or isinstance(answer, bool):
            self._decided(watched, is_granted=answer)
        else:
            if watched.subscription is None or watched.subscription.withheld:
                self._freshness.withhold(watched)
            watched.question = self._tasks.start(self._wait(watched, answer), copy_context())
            watched.question.add_done_callback(partial(self._ended, watched, answer))

    async def _wait(self, watched: WatchedKey, question: Question) -> None:
        async with self._places:
            is_granted = await question.wait()
        if watched.question is asyncio.current_task():  # an application may swallow the end of an old one
            watched.question = None
            self._serial.do(partial(self._decided, watched, is_granted=is_granted))

    def _ended(self, watched: WatchedKey, question: Question, task: asyncio.Task[None]) -> None:
        question.end()
        if watched.question is task:  # without an answer, and not by us
            watched.question = None
            self._node.rights.cancelled(watched.key)
            self._serial.do(partial(self._decided, watched, is_granted=None))

    def _decided(self, watched: WatchedKey, *, is_granted: bool | None) -> None:
        watched.failures = 0 if is_granted is not None else watched.failures + 1
        if is_granted is None and watched.subscription is not None:
            watched.asked = _BEFORE_ALL
        if is_granted:
            self._grant(watched)
        else:
            self._refuse(watched)
        self._freshness.release(watched)
        if is_granted is None:
            self._ask_again_soon(watched.failures)

    def _grant(self, watched: WatchedKey) -> None:
        hub, held = self._node.hub, watched.subscription
        try:
            if held is None:
                held = hub.subscribe(
                    self._outbox, watched.key, self._principal, watched.version, watched.asked
                )
            elif watched.is_moved:
                held = hub.rebind(held, self._principal)
        except AccessDenied as error:
            self._node.rights.unshared(watched.key, error)
            self._refuse(watched)
            return
        except BaseException:
            self._unsubscribe(watched)  # it may be an earlier principal's
            raise
        watched.subscription = held
        watched.is_moved = watched.is_refused = False
        self._ask_causes(watched)
        self._release(held)

    def _release(self, subscription: Subscription) -> None:
        if self._node.is_closed:
            subscription.withheld = True
        else:
            self._node.hub.release(subscription)

    def _ask_causes(self, watched: WatchedKey) -> None:
        if watched.causes and isinstance(watched.subscription, V2Subscription):
            self._node.hub.ask_causes(watched.subscription)

    def _refuse(self, watched: WatchedKey) -> None:
        self._unsubscribe(watched)
        watched.version = None
        if not watched.is_refused:
            watched.is_refused = True
            self._answer(Denied(entity=watched.key.entity, id=watched.key.id, code="denied"))

    def _unsubscribe(self, watched: WatchedKey) -> None:
        held, watched.subscription = watched.subscription, None
        if held is not None:
            self._node.hub.unsubscribe(held)

    @staticmethod
    def _ask_no_more(watched: WatchedKey) -> None:
        if watched.question is not None:
            watched.question.cancel()
            watched.question = None

    # Rights end without a word: they are asked for again from time to time

    def _watch_the_clock(self) -> None:
        if self._timer is None:
            application = self._node.application
            delay = application.settings.authorize_ttl * application.random.uniform(0.8, 1.0)
            self._timer = application.clock.call_later(delay, lambda: self._serial.do(self._elapsed))

    def _elapsed(self) -> None:
        self._timer = None
        for watched in list(self._watched.values()):
            if self._node.rights.guards(watched.key.entity):
                self._watch_the_clock()
                self._ask_unless_asked(watched)

    # A question without an answer denies, but not for as long

    def _ask_again_soon(self, failures: int) -> None:
        if self._again is None:
            application = self._node.application
            delay = application.settings.retry_after(failures) * application.random.uniform(0.5, 1.0)
            self._again = application.clock.call_later(delay, lambda: self._serial.do(self._ask_again))

    def _ask_again(self) -> None:
        self._again = None
        for watched in list(self._watched.values()):
            if watched.failures:
                self._ask_unless_asked(watched)

    def _ask_unless_asked(self, watched: WatchedKey) -> None:
        if watched.question is None:  # else an answer that takes longer than the interval never came
            self._decide(watched)
