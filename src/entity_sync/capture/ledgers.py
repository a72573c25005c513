"""What is known of connections: the COMMITs begun, and what waits for a transaction of somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import Lock, Timer
from typing import Any, TypeAlias
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakSet, ref

from sqlalchemy import event
from sqlalchemy.engine import Connection

from entity_sync import transactions
from entity_sync.capture.pending import Pending
from entity_sync.capture.telling import Changed, Telling
from entity_sync.capture.told import Told

__all__ = ["AGAIN", "Ledger", "ledger_of", "tell_all"]

_Waiting: TypeAlias = dict[Telling, WeakSet[Told]]

AGAIN = 2.0  # seconds, until a database has ended a COMMIT whose caller heard no more of it
_EVENTS = (
    *("commit", "commit_twophase", "rollback", "rollback_twophase"),
    *("savepoint", "release_savepoint", "rollback_savepoint"),
)
_ALL = None  # what is around all savepoints


class Ledger:
    """What is known of one connection, by a weak reference: one that is lost is cleared away.

    Attributes:
        commits: how many have been begun.
    """

    def __init__(self, connection: Connection) -> None:
        self.commits = 0
        self._connection = ref(connection)
        self._heard: set[str] = set()
        self._held: dict[Telling, Pending] = {}
        self._level = 0  # of savepoints, counted from where the first keys came to be held
        self._levels: dict[int, _Waiting] = {}  # at which keys are held, and for whom

    def is_in_transaction(self) -> bool:
        """Whether what is held may be told yet."""
        connection = self._connection()
        return connection is not None and connection.in_transaction()

    def hear(self, connection: Connection, *names: str) -> None:
        """Listen to these events of the connection, each once: it may serve many sessions."""
        for name in names:
            if name not in self._heard:
                self._heard.add(name)
                event.listen(connection, name, getattr(self, f"_{name}"))

    def hold(self, connection: Connection, telling: Telling, changed: Sequence[Changed], told: Told) -> None:
        """Tell these once the transaction of the connection has committed, if it does."""
        self.hear(connection, *_EVENTS)
        _say_after_commits(connection.dialect)
        pending = self._held.setdefault(telling, Pending())
        self._levels.setdefault(self._level, {}).setdefault(telling, WeakSet()).add(told)
        told.wait_for(self)
        for one in changed:
            for id in one.ids:
                pending.add(self._level, one.entity, id, one.tags)

    def committed(self, *, is_unsure: bool) -> None:
        """The COMMIT is over: all that waited for it is told under one token."""
        held, levels, token = self._held, self._levels, uuid4().hex
        self._held, self._level, self._levels = {}, 0, {}
        for telling, pending in held.items():
            for level in levels:
                pending.commit(level)
                pending.end(level, _ALL)
            pending.commit(_ALL)
            waiting = [told for level in levels.values() for told in level.get(telling, ())]
            tell_all(list(pending.take(_ALL)), telling, token, waiting, is_unsure=is_unsure)
        self._release(levels.values())

    def _forget(self) -> None:
        levels = self._levels
        self._held, self._level, self._levels = {}, 0, {}
        self._release(levels.values())

    def _release(self, levels: Iterable[_Waiting]) -> None:
        for level in levels:
            for waiting in level.values():
                for told in waiting:
                    told.wait_no_longer_for(self)

    def _commit(self, connection: Connection) -> None:
        self.commits += 1
        if self._held:
            with suppress(Exception):  # it is lost: the COMMIT says so
                _committing[connection.connection] = self

    def _commit_twophase(self, _connection: Connection, _xid: object, _is_prepared: bool) -> None:
        self.commits += 1

    def _rollback(self, _connection: Connection) -> None:
        self._forget()

    def _rollback_twophase(self, _connection: Connection, _xid: object, _is_prepared: bool) -> None:
        self._forget()

    def _savepoint(self, _connection: Connection, _name: object) -> None:
        self._level += 1

    def _release_savepoint(self, _connection: Connection, _name: object, _context: object) -> None:
        self._end_savepoint(is_released=True)

    def _rollback_savepoint(self, _connection: Connection, _name: object, _context: object) -> None:
        self._end_savepoint(is_released=False)

    def _end_savepoint(self, *, is_released: bool) -> None:
        level = self._level
        self._level -= 1
        over = self._levels.pop(level, None)
        if over is None:
            return
        if is_released:
            outer = self._levels.setdefault(self._level, {})
            for telling, waiting in over.items():
                outer.setdefault(telling, WeakSet()).update(waiting)
        else:
            self._release([over])
        for pending in self._held.values():
            if is_released:
                pending.commit(level)
            pending.end(level, self._level)


_ledgers: WeakKeyDictionary[Connection, Ledger] = WeakKeyDictionary()
_committing: WeakKeyDictionary[Any, Ledger] = WeakKeyDictionary()  # by what the dialect is told to commit
_saying: WeakSet[Any] = WeakSet()
_lock = Lock()


def ledger_of(connection: Connection) -> Ledger:
    """That of this connection, as long as it lives."""
    found = _ledgers.get(connection)
    if found is None:
        found = _ledgers[connection] = Ledger(connection)
    return found


def tell_all(
    changed: Sequence[Changed], telling: Telling, token: str, several: Iterable[Told], *, is_unsure: bool
) -> None:
    """Tell these, and again if the COMMIT may still be under way: the first load may overtake it.

    Args:
        token: names these notifies.
        several: what the transactions told that changed them.
    """
    if not changed:
        return
    with transactions.committed():
        receipt = telling.tell(changed, token)
    for told in several:
        told.add(receipt, token)
    if is_unsure:
        _later(telling.tell_again, changed, token)


def _later(tell: Callable[..., None], *told: Any) -> None:
    try:
        asyncio.get_running_loop().call_later(AGAIN, tell, *told)
    except RuntimeError:  # this thread has no loop
        timer = Timer(AGAIN, tell, told)
        timer.daemon = True
        timer.start()


def _say_after_commits(dialect: Any) -> None:
    """Have a dialect say when a COMMIT is over: a connection has an event before it, and none after it."""
    with _lock:
        if dialect in _saying:
            return
        _saying.add(dialect)
        one, two = dialect.do_commit, dialect.do_commit_twophase

        def do_commit(dbapi_connection: Any) -> None:
            _say(_committing.pop(dbapi_connection, None), one, dbapi_connection)

        def do_commit_twophase(connection: Any, *args: Any, **options: Any) -> None:
            _say(_ledgers.get(connection), two, connection, *args, **options)

        dialect.do_commit, dialect.do_commit_twophase = do_commit, do_commit_twophase


def _say(ledger: Ledger | None, commit: Callable[..., None], *args: Any, **options: Any) -> None:
    is_unsure = True
    try:
        commit(*args, **options)
        is_unsure = False
    finally:
        if ledger is not None:
            ledger.committed(is_unsure=is_unsure)
