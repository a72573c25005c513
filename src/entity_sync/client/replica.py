"""What a client holds: pure, it takes the server's messages and says what is new and what to ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from entity_sync.client.copy import Copy
from entity_sync.client.incoming import (
    Ack,
    Current,
    Delta,
    Denied,
    Error,
    Failure,
    Fresh,
    Incoming,
    Snapshot,
    Stale,
)  # fmt: skip
from entity_sync.client.receipts import Receipts
from entity_sync.client.requests import Requests
from entity_sync.client.rows import Misfit, applied
from entity_sync.client.state import Refusal, Row, StaleReason, State
from entity_sync.model import EntityKey

__all__ = ["Replica"]


class Replica:
    """The copies of all keys one client watches, across its connections.

    Attributes:
        news: keys whose state may differ since they were last taken out.
        refused: keys the server refused since they were last taken out; their copies are gone.
        wants_receipts: the server is asked which notifies a state covers.
        receipts: those that it said.
    """

    def __init__(self, *, receipts: bool = False) -> None:
        self.wants_receipts = receipts
        self.receipts = Receipts()
        self.news: dict[EntityKey, None] = {}
        self.refused: dict[EntityKey, Refusal] = {}
        self._requests = Requests(causes=receipts)
        self._copies: dict[EntityKey, Copy] = {}
        self._keys: dict[int, dict[EntityKey, None]] = {}  # of each view
        self._is_silent = True
        self._broker_fails = False
        self._is_changing = False  # who the client is: the server has not been told who it is now
        self._secret: int | None = None

    def state(self, key: EntityKey) -> State:
        """What is shown of a watched key."""
        copy = self._copies[key]
        return replace(copy.state, stale_reason=self._stale_reason(copy))

    def is_known(self, key: EntityKey) -> bool:
        """Whether there is anything to show: a state, or why there is none."""
        copy = self._copies[key]
        return copy.state.version is not None or copy.state.is_denied or copy.failure is not None

    def check_receipts(self) -> None:
        """Look whether anybody can be told what a state covers.

        Raises:
            RuntimeError: the server is not asked for it.
        """
        if not self.wants_receipts:
            raise RuntimeError("reached() needs connect(..., receipts=True)")

    def covers(self, key: EntityKey, token: str) -> bool:
        """Whether what is shown of a watched key covers this token, as far as the server said."""
        return token in self._copies[key].covered

    def _stale_reason(self, copy: Copy) -> StaleReason | None:
        if self._is_silent or self._is_changing:
            return "connection"
        if self._broker_fails:
            return "broker"
        if copy.failure is not None:
            return copy.failure
        return None if copy.is_answered else "connection"

    # What the program wants

    def watch(self, key: EntityKey) -> None:
        """Hold a copy of this key from now on."""
        if key not in self._copies:
            self._copies[key] = Copy()
            self._requests.subscribe(key)

    def forget(self, key: EntityKey) -> None:
        """Hold it no longer."""
        self._bind(key, self._copies.pop(key), None)
        self.news.pop(key, None)
        self._requests.unsubscribe(key)

    def change(self) -> None:
        """The client is somebody else; until the secret that says so is answered, data is not this one's."""
        self._is_changing = True
        self._all_news()

    def identify(self, ref: int) -> None:
        """The secret is on its way: until the answer with this ref, data is somebody else's."""
        self._is_changing, self._secret = False, ref
        for copy in self._copies.values():
            copy.is_answered = False
        self._all_news()

    def take(self, limit: int) -> list[bytes]:
        """The frames to send now, of at most ``limit`` bytes each."""
        return self._requests.take(limit, lambda key: self._copies[key].state.version)

    # What happens

    def opened(self) -> None:
        """A new connection: nothing that the last one said of itself holds."""
        self._is_changing, self._secret = False, None
        self._broker_fails = False
        for key, copy in self._copies.items():
            self._bind(key, copy, None)
            copy.rev, copy.failure, copy.is_answered = 0, None, False
        self._requests.start_over(self._copies)
        self._all_news()

    def silent(self, is_silent: bool) -> None:
        """No frame came for too long, or the connection is gone; or frames come again."""
        if is_silent != self._is_silent:
            self._is_silent = is_silent
            self._all_news()

    def receive(self, message: Incoming) -> None:
        """Take a message of the server."""
        take = _TAKES.get(type(message))
        if take is not None:
            take(self, message)

    def _snapshot(self, message: Snapshot) -> None:
        key = EntityKey(message.entity, message.id)
        copy = self._bound(key, message.view)
        if copy is not None:
            rows = tuple(_row(key, row.entity, row.id, row.data) for row in message.rows)
            copy.state = State(rows, message.version, is_gone=message.gone)
            copy.rev = message.rev
            copy.is_answered = True
            self._cover(copy, copy.causes)
            copy.causes = ()

    def _current(self, message: Current) -> None:
        copy = self._bound(EntityKey(message.entity, message.id), message.view)
        if copy is None:
            return
        copy.is_answered = copy.state.version == message.version
        if copy.is_answered:
            copy.rev = message.rev
            self._cover(copy, message.causes)
        else:
            copy.causes += message.causes
            self._requests.resync(message.view, 0)

    def _cover(self, copy: Copy, tokens: tuple[str, ...]) -> None:
        copy.covered.add(tokens)
        self.receipts.cover(tokens)

    @property
    def _is_for_another(self) -> bool:
        return self._is_changing or self._secret is not None

    def _bound(self, key: EntityKey, view: int) -> Copy | None:
        """The copy that this view speaks of, unless it speaks to somebody else."""
        copy = self._copies.get(key)
        if copy is None or self._is_for_another:
            return None
        if copy.view != view:
            # The `fresh` that ends a failure names its view, so another view's never ends this one's.
            self._bind(key, copy, view)
            copy.rev, copy.failure = 0, None
        self.news[key] = None
        return copy

    def _delta(self, message: Delta) -> None:
        if self._is_for_another:
            return
        for key, copy in self._of_view(message.view):
            self.news[key] = None
            try:
                if copy.rev != message.base or not copy.is_answered:
                    raise Misfit(f"rev {copy.rev} is held")
                rows = applied(key, copy.state.rows, message)
            except Misfit:  # what is held is shown as stale until the rows come whole
                copy.is_answered = False
                self._requests.resync(message.view, 0)
            else:
                copy.state, copy.rev = State(rows, message.version), message.rev

    def _denied(self, message: Denied) -> None:
        key = EntityKey(message.entity, message.id)
        copy = self._copies.get(key)
        if copy is not None:
            self._bind(key, copy, None)
            copy.state, copy.failure = State(is_denied=True), None
            copy.is_answered = True
            self.news[key] = None

    def _stale(self, message: Stale) -> None:
        if message.entity is None and message.view is None:
            self._broker_fails = True
            self._all_news()
            return
        for key, copy in self._of_view(message.view):
            self._fail(key, copy, "load")
        self._fail_named(message, "load")

    def _fresh(self, message: Fresh) -> None:
        if message.view is None:
            self._broker_fails = False
            self._all_news()
            return
        for key, copy in self._of_view(message.view):
            self._fail(key, copy, None)

    def _ack(self, message: Ack) -> None:
        self._identified(message.ref)
        asked = set(self._requests.answered(message.ref))
        for failure in message.failed:
            if failure.entity is not None and failure.id is not None:
                key = EntityKey(failure.entity, failure.id)
                if key in asked:
                    self._refuse(key, failure)

    def _error(self, message: Error) -> None:
        self._identified(message.ref)
        for key in self._requests.answered(message.ref):
            self._refuse(key, message)
        # One that names a key leaves its subscription standing: the next state that can be sent is.
        self._fail_named(message, "too_large" if message.code == "too_large" else "load")

    def _identified(self, ref: str | int | None) -> None:
        if ref is not None and ref == self._secret:
            self._secret = None

    def _refuse(self, key: EntityKey, failure: Failure | Error) -> None:
        copy = self._copies.pop(key, None)
        if copy is not None:
            self._bind(key, copy, None)
            self.news.pop(key, None)
            self.refused[key] = Refusal(failure.code, failure.text, failure.retryable, key)

    def _fail_named(self, message: Stale | Error, failure: StaleReason) -> None:
        if message.entity is not None and message.id is not None:
            key = EntityKey(message.entity, message.id)
            if key in self._copies:
                self._fail(key, self._copies[key], failure)

    def _fail(self, key: EntityKey, copy: Copy, failure: StaleReason | None) -> None:
        copy.failure = failure
        self.news[key] = None

    def _of_view(self, view: int | None) -> list[tuple[EntityKey, Copy]]:
        if view is None:
            return []
        return [(key, self._copies[key]) for key in self._keys.get(view, ())]

    def _bind(self, key: EntityKey, copy: Copy, view: int | None) -> None:
        """The copy is of this view from now on."""
        if copy.view is not None:
            keys = self._keys[copy.view]
            del keys[key]
            if not keys:
                del self._keys[copy.view]
        if view is not None:
            self._keys.setdefault(view, {})[key] = None
        copy.view = view

    def _all_news(self) -> None:
        self.news.update(dict.fromkeys(self._copies))


_TAKES: dict[type, Callable[[Replica, Any], None]] = {
    Snapshot: Replica._snapshot,
    Current: Replica._current,
    Delta: Replica._delta,
    Denied: Replica._denied,
    Stale: Replica._stale,
    Fresh: Replica._fresh,
    Ack: Replica._ack,
    Error: Replica._error,
}
"""The other messages are about the connection, not about copies."""


def _row(key: EntityKey, entity: str | None, id: str | None, data: Any) -> Row:
    return Row(key.entity if entity is None else entity, key.id if id is None else id, data)
