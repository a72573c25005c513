"""What the events of a session lead to: keys are gathered as it flushes, and told once it has committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import inspect as inspected
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.orm import Session

from entity_sync import transactions
from entity_sync.capture.cascades import warn_of_cascades
from entity_sync.capture.connections import Connections
from entity_sync.capture.pending import Pending
from entity_sync.capture.rows import Held, Watched, held, ids_of, is_written, tags_of, why_unknown
from entity_sync.capture.sessions import outer_of, place_of
from entity_sync.capture.statements import Statement, calling_line, changes, has_table
from entity_sync.capture.telling import Notifying, Telling
from entity_sync.capture.told import Told

__all__ = ["Commits", "listening"]

_log = logging.getLogger("entity_sync.capture")


class _Open:
    """What the open transaction of a session has changed so far."""

    def __init__(self, session: Session, is_watched: Callable[[type], bool]) -> None:
        self._session = session
        self._is_watched = is_watched
        self.pending = Pending()
        self.connections = Connections()
        self.leaving: set[Any] = set()  # the states of what the flush was told to delete
        # the states of what it found changed, and what they held
        self.changed: dict[tuple[Any, Watched], Held] = {}

    def has_changed(self) -> bool:
        session = self._session
        if not session.in_transaction():
            return False
        if self.pending:
            return True
        dirty = (one for one in session.dirty if session.is_modified(one))
        return any(self._is_watched(type(one)) for one in (*session.new, *session.deleted, *dirty))


class Commits:
    """What the events of a watched session lead to."""

    def __init__(self, sync: Notifying, classes: Mapping[type, Sequence[Watched]]) -> None:
        self.sync = sync
        self._classes = classes
        self._warned: set[Statement] = set()
        self._telling = Telling(sync)
        self._has_flushed = False

    def names(self, entity: str) -> bool:
        """Whether rows of these classes are keys of this entity."""
        return any(watched.entity == entity for several in self._classes.values() for watched in several)

    def say(
        self, session: Session, entity: str, ids: Iterable[object], tags: Mapping[str, Any] | None
    ) -> None:
        """If what is open now commits, these keys changed."""
        found = self._open(session)
        found.connections.watch()
        for id in ids:
            found.pending.add(place_of(session), entity, id, tags)

    def created(self, session: Session, transaction: Any) -> None:
        """A transaction begins: until it ends a notify would come too early."""
        if transaction.parent is None:
            self._open(session)

    def begun(self, session: Session, transaction: Any, connection: Any) -> None:
        """The transaction uses this connection."""
        if transaction.parent is None:
            self._open(session).connections.add(connection)

    def flushing(self, session: Session, _context: object, _objects: object) -> None:
        """What is asked for now cannot be asked for once it has been written."""
        if not self._has_flushed:
            self._has_flushed = True
            with suppress(NoReferenceError):  # of a table that is not there: the flush itself says so
                warn_of_cascades(self._classes)
        found = self._open(session)
        found.changed = {}
        for changed in session.dirty:
            for watched in self._watched(type(changed)):
                if session.is_modified(changed):
                    with suppress(Exception):  # it is asked for again, and then the log says what is wrong
                        found.changed[inspected(changed), watched] = held(changed, watched)
        # what is not loaded of a deleted object cannot be asked for once it is deleted
        found.leaving = {inspected(changed) for changed in session.deleted}
        for state in found.leaving:
            self._gather(session, state.object)

    def deleted(self, session: Session, changed: Any) -> None:
        """An object has been deleted."""
        # orphans are found during the flush
        if inspected(changed) not in self._open(session).leaving:
            self._gather(session, changed)

    def flushed(self, session: Session, _context: object) -> None:
        """What is new has its key now."""
        for changed in session.new:
            self._gather(session, changed, is_new=True)
        known = self._open(session).changed
        for changed in session.dirty:
            for watched in self._watched(type(changed)):
                # what neither tells was changed by the flush itself, or by an event after ours
                before = known.get((inspected(changed), watched))
                if before is not None or session.is_modified(changed) or is_written(changed):
                    self._gather_one(session, changed, watched, before, is_flushed=True)

    def _gather(self, session: Session, changed: Any, *, is_new: bool = False) -> None:
        for watched in self._watched(type(changed)):
            self._gather_one(session, changed, watched, is_new=is_new)

    def _gather_one(
        self,
        session: Session,
        changed: Any,
        watched: Watched,
        before: Held | None = None,
        *,
        is_new: bool = False,
        is_flushed: bool = False,
    ) -> None:
        try:
            if before is None and not is_new:
                before = held(changed, watched, is_flushed=is_flushed)
            ids = ids_of(changed, watched, before)
            tags = tags_of(changed, watched.tags, before)
            try:
                self.say(session, watched.entity, ids, tags)
            except ValueError as error:  # without tags it concerns every live query: nothing is missed
                _log.warning("%s %r is notified without tags: %s", watched.entity, ids, error)
                self.say(session, watched.entity, ids, None)
        except Exception as error:  # noqa: BLE001 - whoever flushes is not to blame
            kind = type(changed).__qualname__
            _log.exception("a change of %s will not be told: %s", kind, why_unknown(changed, watched, error))

    def committed(self, session: Session) -> None:
        """A savepoint was released, or the outermost transaction has committed."""
        self._open(session).pending.commit(place_of(session))
        if session.get_nested_transaction() is None:
            self._warn_of_statements(session)

    def ended(self, session: Session, transaction: Any) -> None:
        """One is over: of the outermost what it committed is told."""
        if transaction.parent is not None:
            if transaction.nested:
                self._open(session).pending.end(transaction, outer_of(transaction))
            return
        over = self._open(session)
        transactions.ended(over)
        del session.info[self]
        if over.pending:
            told = Told.of(session, transaction)
            over.connections.tell(over.pending, transaction, self._telling, told)

    def _open(self, session: Session) -> _Open:
        found: _Open | None = session.info.get(self)
        if found is None:
            found = session.info[self] = _Open(session, self._is_watched)
        transactions.begun(found)  # wherever it goes on, in another task or thread too
        return found

    def executing(self, state: Any) -> None:
        """A statement: of one that changes rows nobody knows which."""
        session = state.session
        for verb, table in changes(state):
            for kind in self._classes:
                if has_table(kind, table):
                    statement = Statement(verb, kind, calling_line())
                    self._open(session).pending.pass_by(place_of(session), statement)

    def said(self, session: Session) -> set[str]:
        """The entities of which keys are to be told, of what is open now."""
        return self._open(session).pending.entities()

    def has_changed(self, session: Session) -> bool:
        """Whether a transaction is open that has changed rows, or is about to."""
        found: _Open | None = session.info.get(self)
        return found is not None and found.has_changed()

    def _warn_of_statements(self, session: Session) -> None:
        """Of those that commit, unless the transaction tells of their rows: then the application knows."""
        passed = self._open(session).pending.passed(place_of(session))
        passed = [one for one in passed if one not in self._warned]
        if not passed:
            return
        said = set[str]().union(*(commits.said(session) for commits in listening(session)))
        for statement in passed:
            unsaid = {watched.entity: None for watched in self._classes[statement.kind]}
            if said.isdisjoint(unsaid):
                self._warned.add(statement)
                _log.warning(
                    "%s of %s by a statement at %s: which keys it changes is not known, and its transaction "
                    "notified none of %s; say them by notify_after_commit(session, %r, ...)",
                    statement.verb,
                    statement.kind.__qualname__,
                    statement.line,
                    ", ".join(unsaid),
                    next(iter(unsaid)),
                )

    def _is_watched(self, kind: type) -> bool:
        return bool(self._watched(kind))

    def _watched(self, kind: type) -> Sequence[Watched]:
        return next((self._classes[one] for one in kind.__mro__ if one in self._classes), ())


def listening(session: Any) -> list[Commits]:
    """What the commits of this session lead to, one for each call that asked for it."""
    owners = [getattr(listener, "__self__", None) for listener in session.dispatch.after_flush]
    return [owner for owner in owners if isinstance(owner, Commits)]
