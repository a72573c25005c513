"""What a client holds: pure, it takes the server's messages and says what to send and what is new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from entity_sync.errors import EntitySyncError
from entity_sync.model import EntityKey

__all__ = ["Refusal", "Replica", "Row", "State"]

_Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row, decoded, with its own key."""

    entity: str
    id: str
    data: Any


@dataclass(frozen=True, slots=True)
class State:
    """What is shown of one subscription.

    Attributes:
        rows: empty where the key is gone, denied, or not known yet.
        version: content hash, None while nothing is known.
        is_gone: there is no such key.
        is_denied: the principal may not see it.
        is_stale: it may be old, because the connection, the server's broker or a load fails.
    """

    rows: tuple[Row, ...] = ()
    version: str | None = None
    is_gone: bool = False
    is_denied: bool = False
    is_stale: bool = True

    @property
    def data(self) -> Any:
        """The data of the first row, None where there is none."""
        return self.rows[0].data if self.rows else None


class Refusal(EntitySyncError):
    """The server refused a request.

    Attributes:
        code: as on the wire, for example ``bad_id`` or ``unknown_entity``.
        is_retryable: whether the same request may be granted later.
    """

    def __init__(self, code: str, text: str, is_retryable: bool) -> None:
        self.code = code
        self.is_retryable = is_retryable
        super().__init__(f"{code}: {text}")


@dataclass(slots=True)
class _Copy:
    state: State = field(default_factory=State)
    view: int | None = None
    refusal: Refusal | None = None
    has_answer: bool = False
    load_fails: bool = False


class Replica:
    """The copies of all subscriptions of one client, across its connections.

    Attributes:
        news: keys whose state differs since they were last taken out.
    """

    def __init__(self) -> None:
        self.news: dict[EntityKey, None] = {}
        self._copies: dict[EntityKey, _Copy] = {}
        self._is_silent = True
        self._broker_fails = False
        self._discards = False

    def state(self, key: EntityKey) -> State:
        """What is shown of a key.

        Raises:
            Refusal: the server refused the subscription.
        """
        copy = self._copies[key]
        if copy.refusal is not None:
            raise copy.refusal
        is_stale = self._is_silent or self._broker_fails or copy.load_fails or not copy.has_answer
        return replace(copy.state, is_stale=is_stale)

    def has_answer(self, key: EntityKey) -> bool:
        """Whether the server has said anything of a key, now or on an earlier connection."""
        copy = self._copies[key]
        return copy.refusal is not None or copy.state.version is not None or copy.state.is_denied

    # What the program wants: messages to send

    def subscribe(self, key: EntityKey) -> _Message:
        """Hold a copy of this key from now on."""
        copy = self._copies.setdefault(key, _Copy())
        copy.refusal = None
        return {"action": "subscribe", "body": _wanted(key, copy)}

    def unsubscribe(self, key: EntityKey) -> _Message:
        """Forget the copy."""
        del self._copies[key]
        self.news.pop(key, None)
        return {"action": "unsubscribe", "body": {"entity": key.entity, "id": key.id}}

    def discard(self) -> None:
        """A secret is on its way: what comes before its answer is somebody else's."""
        self._discards = True

    def identified(self) -> None:
        """The secret was accepted."""
        self._discards = False

    def opened(self) -> list[_Message]:
        """A connection is there: what to send so that it knows what is held."""
        self._discards = self._broker_fails = False
        for copy in self._copies.values():
            copy.has_answer = copy.load_fails = False
            copy.view = None
        wanted = [_wanted(key, copy) for key, copy in self._copies.items()]
        return [{"action": "subscribe", "body": wanted}] if wanted else []

    # What happens

    def silent(self, is_silent: bool) -> None:
        """No frame came for too long, or the connection is gone; or frames come again."""
        if is_silent != self._is_silent:
            self._is_silent = is_silent
            self._all_news(self._copies)

    def receive(self, message: _Message) -> list[_Message]:
        """Take a message of the server; returns what to send."""
        event = message.get("event")
        take = _EVENTS.get(event) if isinstance(event, str) else None
        return take(self, message) if take is not None else []

    def _snapshot(self, message: _Message) -> list[_Message]:
        key, copy = self._find(message)
        if copy is not None and not self._discards:
            copy.view, copy.has_answer = message["view"], True
            rows = tuple(_row(row, key) for row in message["rows"])
            copy.state = State(rows, message["version"], is_gone=message["gone"])
            self.news[key] = None
        return []

    def _current(self, message: _Message) -> list[_Message]:
        key, copy = self._find(message)
        if copy is None or self._discards:
            return []
        copy.view = message["view"]
        if copy.state.version != message["version"]:
            return [_resync(message["view"], message["rev"])]
        copy.has_answer = True
        self.news[key] = None
        return []

    def _delta(self, message: _Message) -> list[_Message]:
        # This client applies no deltas: it asks for the rows whole, which is always right.
        return [] if self._discards else [_resync(message["view"], message["rev"])]

    def _denied(self, message: _Message) -> list[_Message]:
        key, copy = self._find(message)
        if copy is not None:
            copy.state, copy.view, copy.has_answer = State(is_denied=True), None, True
            self.news[key] = None
        return []

    def _stale(self, message: _Message) -> list[_Message]:
        if "entity" not in message and "view" not in message:
            self._broker_fails = True
            self._all_news(self._copies)
            return []
        for key, copy in self._concerned(message):
            copy.load_fails = True
            self.news[key] = None
        return []

    def _fresh(self, message: _Message) -> list[_Message]:
        if "view" not in message:
            self._broker_fails = False
            self._all_news(self._copies)
            return []
        for key, copy in self._concerned(message):
            copy.load_fails = False
            self.news[key] = None
        return []

    def _ack(self, message: _Message) -> list[_Message]:
        for failure in message.get("failed", ()):
            self._refuse(failure)
        return []

    def _error(self, message: _Message) -> list[_Message]:
        self._refuse(message)
        return []

    def _refuse(self, failure: _Message) -> None:
        key, copy = self._find(failure)
        if copy is not None:
            copy.refusal = Refusal(failure["code"], failure["text"], bool(failure.get("retryable")))
            self.news[key] = None

    def _find(self, message: _Message) -> tuple[EntityKey, _Copy | None]:
        key = EntityKey(str(message.get("entity")), str(message.get("id")))
        return key, self._copies.get(key)

    def _concerned(self, message: _Message) -> list[tuple[EntityKey, _Copy]]:
        key, view = (message.get("entity"), message.get("id")), message.get("view")
        return [
            (each, copy)
            for each, copy in self._copies.items()
            if each == key or (view is not None and copy.view == view)
        ]

    def _all_news(self, keys: Iterable[EntityKey]) -> None:
        self.news.update(dict.fromkeys(keys))


_EVENTS = {
    "snapshot": Replica._snapshot,
    "current": Replica._current,
    "delta": Replica._delta,
    "denied": Replica._denied,
    "stale": Replica._stale,
    "fresh": Replica._fresh,
    "ack": Replica._ack,
    "error": Replica._error,
}
"""What is not listed is ignored, so that a newer server may say more."""


def _wanted(key: EntityKey, copy: _Copy) -> _Message:
    wanted = {"entity": key.entity, "id": key.id}
    return wanted if copy.state.version is None else {**wanted, "version": copy.state.version}


def _resync(view: int, rev: int) -> _Message:
    return {"action": "resync", "body": {"view": view, "rev": rev}}


def _row(row: _Message, key: EntityKey) -> Row:
    return Row(row.get("entity", key.entity), row.get("id", key.id), row["data"])
