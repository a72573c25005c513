"""What one client's messages mean: a transition table from state and message to effects.

The session is pure. Whoever owns the connection feeds it messages and outcomes, and carries out
the effects it returns, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, TypeAlias

from entity_sync.core.effects import (
    Admit,
    Admitted,
    Answer,
    Authenticate,
    Close,
    Deliver,
    Dismiss,
    Doubted,
    Effect,
    Ended,
    Event,
    Forget,
    Overdue,
    Refused,
    Repeat,
    Wait,
    Watch,
)  # fmt: skip
from entity_sync.core.messages import (
    Ack,
    Denied,
    Error,
    Failure,
    Invalid,
    Pass,
    Ping,
    Pong,
    Ref,
    Resync,
    Secret,
    Subscribe,
    Unsubscribe,
    Upward,
    Wanted,
)  # fmt: skip
from entity_sync.errors import BadId, UnknownEntity
from entity_sync.model import EntityKey, Wire

__all__ = ["Session", "SessionState"]


class SessionState(Enum):
    """Where a session stands with who it is."""

    NEW = "new"
    AUTHENTICATING = "authenticating"
    ADMITTED = "admitted"
    DOUBTED = "doubted"  # asked afresh, the application could not tell: it is asked again
    REFUSED = "refused"


Resolve: TypeAlias = Callable[[str, str, Wire], EntityKey]

_MAX_WRONG = 100  # keys of a message that are answered each with many times its bytes
_HOLDS = (Subscribe, Unsubscribe, Secret, Resync, Pass, Ping, Invalid)


class Session:
    """The protocol state of one connection.

    Attributes:
        state: where it stands.
        keys: what the client subscribed to, in order, and whether it wants causes; kept when a secret is
            refused.
        held: messages that wait until it is decided who the client is.
    """

    __slots__ = (
        "_is_doubted", "_limit", "_refusal", "_resolve", "_secret", "_secret_ref", "_wire", "held", "keys",
        "state",
    )  # fmt: skip

    def __init__(self, wire: Wire, resolve: Resolve, max_subscriptions: int) -> None:
        """
        Args:
            wire: on classic nothing is answered.
            resolve: makes a key of an entity name and an id as sent; raises UnknownEntity, BadId.
            max_subscriptions: subscriptions the client may hold.
        """
        self.state = SessionState.NEW
        self.keys: dict[EntityKey, bool] = {}
        self.held: list[Upward] = []  # few, and an empty deque takes 760 bytes
        self._wire: Wire = wire
        self._resolve = resolve
        self._limit = max_subscriptions
        self._secret: str | None = None
        self._secret_ref: Ref | None = None  # None while nobody waits to hear of a secret
        self._refusal = Refused()
        self._is_doubted = False  # the question is ours, not the client's

    def receive(self, event: Event) -> list[Effect]:
        """Take one message or outcome; returns what is to be done, in order."""
        effects = _TABLE[self.state, type(event)](self, event)
        while self.held and self.state is not SessionState.AUTHENTICATING:
            message = self.held.pop(0)
            effects += _TABLE[self.state, type(message)](self, message)
        if self._wire == "classic":
            return [effect for effect in effects if not isinstance(effect, Answer)]
        return effects

    # Who the client is

    def _identify(self, message: Secret) -> list[Effect]:
        self._secret_ref = message.ref
        self._secret = message.value
        self._is_doubted = False
        self.state = SessionState.AUTHENTICATING
        return [Authenticate(message.value)]

    def _identify_again(self, _event: Doubted) -> list[Effect]:
        self._is_doubted = True
        self.state = SessionState.AUTHENTICATING
        return [Authenticate(self._secret, again=True)]

    def _identify_first(self, message: Upward) -> list[Effect]:
        self.held.append(message)
        self._secret = None
        self.state = SessionState.AUTHENTICATING
        return [Authenticate(None)]

    def _hold(self, message: Upward) -> list[Effect]:
        self.held.append(message)
        return []

    def _admit(self, outcome: Admitted) -> list[Effect]:
        self.state = SessionState.ADMITTED
        ref, self._secret_ref = self._secret_ref, None
        ack: list[Effect] = [] if ref is None else [Answer(Ack(ref=ref))]
        if self.held and isinstance(self.held[0], Secret):
            return ack  # nobody is shown or asked anything before the next secret is
        causes = frozenset(key for key, causes in self.keys.items() if causes)
        return [*ack, Admit(outcome.principal, tuple(self.keys), causes)]

    def _refuse(self, outcome: Refused) -> list[Effect]:
        self._refusal = outcome
        if self._is_doubted and outcome.retryable:
            self.state = SessionState.DOUBTED
            return [Dismiss(outcome), Wait()]
        self.state = SessionState.REFUSED
        ref, self._secret_ref = self._secret_ref, None
        error: list[Effect] = [] if ref is None else [self._refused(ref)]
        return [Dismiss(outcome), *error, *self._withdraw()]

    def _end(self, _event: Ended) -> list[Effect]:
        self.state = SessionState.REFUSED
        self._refusal = Refused()
        return [Dismiss(self._refusal), *self._withdraw()]

    def _withdraw(self) -> list[Effect]:
        return [Forget(tuple(self.keys)), *(self._denied(key) for key in self.keys)]

    def _denied(self, key: EntityKey) -> Effect:
        return Answer(Denied(entity=key.entity, id=key.id, code=self._refusal.code))

    def _refused(self, ref: Ref) -> Effect:
        why = self._refusal
        return Answer(Error(code=why.code, text=why.text, retryable=why.retryable, ref=ref))

    def _close_overdue(self, _outcome: Overdue) -> list[Effect]:
        return [Close(1008, "no secret and no subscribe in time")]

    # What it wants

    def _subscribe(self, message: Subscribe) -> list[Effect]:
        failed = list(message.refused)
        effects: list[Effect] = []
        for wanted in message.wanted:
            found = self._look_up(wanted)
            if isinstance(found, Failure):
                failed.append(found)
            elif self.state is not SessionState.ADMITTED:
                # Should it be watched, for somebody who is in doubt: the client drops what it held of it.
                self.keys[found] = wanted.causes
                effects += [Forget((found,)), self._denied(found)]
            else:
                effects.append(Watch(found, wanted.version, again=found in self.keys, causes=wanted.causes))
                self.keys[found] = wanted.causes
        wrong = [failure for failure in failed if not failure.retryable]
        if len(wrong) > _MAX_WRONG:
            failed = [*(failure for failure in failed if failure.retryable), *wrong[:_MAX_WRONG]]
            text = f"{len(wrong) - _MAX_WRONG} more keys are wrong"
            effects.insert(0, Answer(Error(code="bad_frame", text=text, retryable=False)))
        return [Answer(Ack(ref=message.ref, failed=tuple(failed))), *effects]

    def _look_up(self, wanted: Wanted) -> EntityKey | Failure:
        try:
            key = self._resolve(wanted.entity, wanted.id, self._wire)
        except UnknownEntity:
            return Failure("unknown_entity", "no such entity", False, wanted.entity, wanted.id)
        except BadId as error:
            return Failure("bad_id", str(error), False, wanted.entity, wanted.id)
        if key not in self.keys and len(self.keys) >= self._limit:
            text = f"more than {self._limit} subscriptions"
            return Failure("limit", text, True, wanted.entity, wanted.id)
        return key

    def _unsubscribe(self, message: Unsubscribe) -> list[Effect]:
        failed = list(message.refused)
        keys: list[EntityKey] = []
        for wanted in message.wanted:
            try:
                key = self._resolve(wanted.entity, wanted.id, self._wire)
            except (UnknownEntity, BadId):
                continue  # what cannot be subscribed is not subscribed: no failure
            if key in self.keys:
                del self.keys[key]
                keys.append(key)
        return [Forget(tuple(keys)), Answer(Ack(ref=message.ref, failed=tuple(failed)))]

    def _repeat(self, message: Resync) -> list[Effect]:
        return [Repeat(message.view, message.rev, message.ref)]

    def _deliver(self, message: Pass) -> list[Effect]:
        return [Deliver(message.data, message.ref)]

    def _deny(self, message: Pass | Resync) -> list[Effect]:
        return [self._refused(message.ref)]

    def _pong(self, message: Ping) -> list[Effect]:
        return [Answer(Pong(ref=message.ref))]

    def _invalid(self, message: Invalid) -> list[Effect]:
        return [Answer(Error(code=message.code, text=message.text, retryable=False, ref=message.ref))]

    def _ignore(self, _event: Event) -> list[Effect]:
        return []


_NEW, _BUSY, _IN, _DOUBTED, _OUT = (
    SessionState.NEW,
    SessionState.AUTHENTICATING,
    SessionState.ADMITTED,
    SessionState.DOUBTED,
    SessionState.REFUSED,
)
_S = Session

_TABLE: dict[tuple[SessionState, type], Callable[[Session, Any], list[Effect]]] = {
    (_NEW, Secret): _S._identify,
    (_NEW, Subscribe): _S._identify_first,
    (_NEW, Unsubscribe): _S._unsubscribe,
    (_NEW, Resync): _S._repeat,
    (_NEW, Pass): _S._identify_first,
    (_NEW, Ping): _S._pong,
    (_NEW, Invalid): _S._invalid,
    (_NEW, Overdue): _S._close_overdue,
    (_NEW, Ended): _S._ignore,
    (_NEW, Doubted): _S._ignore,
    **{(_BUSY, kind): _S._hold for kind in _HOLDS},
    (_BUSY, Admitted): _S._admit,
    (_BUSY, Refused): _S._refuse,
    (_BUSY, Overdue): _S._ignore,
    (_BUSY, Ended): _S._ignore,
    (_BUSY, Doubted): _S._ignore,
    (_IN, Secret): _S._identify,
    (_IN, Subscribe): _S._subscribe,
    (_IN, Unsubscribe): _S._unsubscribe,
    (_IN, Resync): _S._repeat,
    (_IN, Pass): _S._deliver,
    (_IN, Ping): _S._pong,
    (_IN, Invalid): _S._invalid,
    (_IN, Overdue): _S._ignore,
    (_IN, Ended): _S._end,
    (_IN, Doubted): _S._identify_again,
    (_DOUBTED, Secret): _S._identify,
    (_DOUBTED, Subscribe): _S._subscribe,
    (_DOUBTED, Unsubscribe): _S._unsubscribe,
    (_DOUBTED, Resync): _S._repeat,
    (_DOUBTED, Pass): _S._deny,
    (_DOUBTED, Ping): _S._pong,
    (_DOUBTED, Invalid): _S._invalid,
    (_DOUBTED, Overdue): _S._ignore,
    (_DOUBTED, Ended): _S._ignore,
    (_DOUBTED, Doubted): _S._identify_again,
    (_OUT, Secret): _S._identify,
    (_OUT, Subscribe): _S._subscribe,
    (_OUT, Unsubscribe): _S._unsubscribe,
    (_OUT, Resync): _S._deny,
    (_OUT, Pass): _S._deny,
    (_OUT, Ping): _S._pong,
    (_OUT, Invalid): _S._invalid,
    (_OUT, Overdue): _S._ignore,
    (_OUT, Ended): _S._ignore,
    (_OUT, Doubted): _S._ignore,
}
"""state × message or outcome → what happens; every pair that can occur is listed."""
