"""What becomes of the changes of a session, as far as its connections tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from threading import Timer
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from sqlalchemy import event
from sqlalchemy.engine import Connection, TwoPhaseTransaction

from entity_sync.capture.pending import Pending
from entity_sync.capture.telling import Changed
from entity_sync.capture.told import Told

__all__ = ["AGAIN", "Connections", "Tell"]

Tell: TypeAlias = Callable[[Sequence[Changed], str], Future[Any] | None]

AGAIN = 2.0  # seconds, until a database has ended a COMMIT whose caller heard no more of it


class Connections:
    """Those that the transaction of a session uses."""

    def __init__(self) -> None:
        self._uses: list[_Use] = []
        self._is_watching = False

    def add(self, connection: Connection) -> None:
        """The session has begun on it."""
        use = _Use(connection)
        self._uses.append(use)
        if self._is_watching:
            use.watch()

    def watch(self) -> None:
        """There is something to tell: from now on each COMMIT is noticed."""
        if not self._is_watching:
            self._is_watching = True
            for use in self._uses:
                use.watch()

    def tell(self, pending: Pending, place: Hashable, tell: Tell, told: Told) -> None:
        """The transaction is over: tell what it committed, or may have, since its COMMIT had begun."""
        is_unsure = not pending.is_committed(place)
        if is_unsure and any(use.has_begun_commit() for use in self._uses):
            pending.commit(place)
        if changed := list(pending.take(place)):
            if (telling := tell(changed, told.token)) is not None:
                told.add(telling)
            if is_unsure:
                _later(tell, changed, told.token)


class _Use:
    """One connection in one transaction of a session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ledger: _Ledger | None = None
        self._commits = 0

    def watch(self) -> None:
        self._ledger = _ledger_of(self._connection)
        is_two_phase = isinstance(self._connection.get_transaction(), TwoPhaseTransaction)
        self._ledger.hear(self._connection, "commit_twophase" if is_two_phase else "commit")
        self._commits = self._ledger.commits

    def has_begun_commit(self) -> bool:
        return self._ledger is not None and self._ledger.commits > self._commits


class _Ledger:
    """What is known of a connection. It has no reference to it, so that one that is lost is cleared away.

    Attributes:
        commits: how many have been begun.
    """

    def __init__(self) -> None:
        self.commits = 0
        self._heard: set[str] = set()

    def hear(self, connection: Connection, *names: str) -> None:
        """Listen to these events of the connection, each once: it may serve many sessions."""
        for name in names:
            if name not in self._heard:
                self._heard.add(name)
                event.listen(connection, name, getattr(self, f"_{name}"))

    def _commit(self, _connection: Connection) -> None:
        self.commits += 1

    def _commit_twophase(self, connection: Connection, _xid: object, _is_prepared: bool) -> None:
        self._commit(connection)


_ledgers: WeakKeyDictionary[Connection, _Ledger] = WeakKeyDictionary()


def _ledger_of(connection: Connection) -> _Ledger:
    found = _ledgers.get(connection)
    if found is None:
        found = _ledgers[connection] = _Ledger()
    return found


def _later(tell: Tell, changed: Sequence[Changed], token: str) -> None:
    """The first load may have overtaken the COMMIT."""
    try:
        asyncio.get_running_loop().call_later(AGAIN, tell, changed, token)
    except RuntimeError:  # this thread has no loop
        timer = Timer(AGAIN, tell, (changed, token))
        timer.daemon = True
        timer.start()
