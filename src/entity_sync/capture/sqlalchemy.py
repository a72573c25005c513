"""SQLAlchemy: what a session changed is notified once it has committed, and never if it rolls back.

The keys come from the unit of work (the session events ``after_flush`` and ``after_transaction_end``, see
SQLAlchemy, ORM Events). Statements that pass it by, like ``session.execute(update(User))``, are warned of,
and so are rows that the database deletes by itself; ``bulk_save_objects`` and its like, and what is executed
on a connection, pass by every event of a session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from sqlalchemy import event
from sqlalchemy import inspect as inspected
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.orm import Session

from entity_sync import transactions
from entity_sync.capture.cascades import warn_of_cascades
from entity_sync.capture.pending import Pending
from entity_sync.capture.rows import Classes, Held, Watched, checked, held, ids_of, is_written, tags_of
from entity_sync.capture.sessions import outer_of, own_session, place_of, session_target
from entity_sync.capture.statements import changes, has_table
from entity_sync.capture.telling import Notifying, Telling
from entity_sync.core.tags import canonical_tags
from entity_sync.errors import ConfigurationError, UnknownEntity
from entity_sync.model import Named, name_of

__all__ = ["Notifying", "Watched", "notify_after_commit", "notify_on_commit"]

_log = logging.getLogger("entity_sync.capture")


@runtime_checkable
class _Checking(Protocol):
    """One that knows its entities, and checks at its start that it does."""

    def will_notify(self, *entities: str) -> None: ...

    def keys_of(self, entity: str, ids: Sequence[object]) -> object: ...


def notify_on_commit(sync: Notifying, sessions: Any, classes: Classes) -> None:
    """From now on commits of these sessions notify what they changed.

    Keys are gathered as the session flushes, and notified together, each once, when the outermost
    transaction has committed; what a rollback undid, also that of a savepoint, is not notified. A failure to
    notify, or to find out what to notify, is logged and does not disturb whoever commits. Several calls for
    the same sessions, of one ``sync`` or of several, do not disturb each other.

    Args:
        sync: what notifies.
        sessions: a ``sessionmaker``, ``async_sessionmaker``, ``scoped_session``, ``async_scoped_session``, a
            session class or one session. Of an ``async_sessionmaker``, those that it makes from now on.
        classes: mapped class → its entity, or how its rows are named (`Watched`).

    Raises:
        ConfigurationError: a class is not mapped, has several primary keys and no ``id``, or lacks an
            attribute that is named; a column of ``tags`` holds what cannot be one, for example floats; or
            the sessions are none of these. Starting `EntitySync` raises it for an entity that it does not
            know.
    """
    watched = {kind: checked(kind, how) for kind, how in classes.items()}
    target = session_target(sessions)
    if isinstance(sync, _Checking):
        sync.will_notify(*(one.entity for one in watched.values()))
    commits = _Commits(sync, watched)
    event.listen(target, "after_transaction_create", commits.created)
    event.listen(target, "before_flush", commits.flushing)
    event.listen(target, "after_flush", commits.flushed)
    event.listen(target, "persistent_to_deleted", commits.deleted)
    event.listen(target, "after_commit", commits.committed)
    event.listen(target, "after_transaction_end", commits.ended)
    event.listen(target, "do_orm_execute", commits.executing)


def notify_after_commit(
    session: Any, entity: str | Named, *ids: object, tags: Mapping[str, Any] | None = None
) -> None:
    """Notify these keys too when this session commits: for statements that pass the unit of work by.

    Those that a session executes are warned of, once for each class: of the ORM, of Core on the class's
    table, and ``text()`` that names it. ``bulk_save_objects``, ``bulk_insert_mappings``,
    ``bulk_update_mappings`` and what is executed on a connection are not: a session has no event for them.

    Args:
        session: one whose commits notify, sync or async, scoped or not.
        entity, ids, tags: as for `EntitySync.notify`. Where several notify, those whose classes are rows of
            this entity do; if there are none, all.

    Raises:
        ConfigurationError: nobody called `notify_on_commit` for this session.
        UnknownEntity, BadId, ValueError, TypeError: as for `EntitySync.notify`, and at once.
    """
    entity = name_of(entity)
    own = own_session(session)
    listening = _listening(own)
    if not listening:
        raise ConfigurationError("the commits of this session notify nothing: see notify_on_commit")
    theirs = [commits for commits in listening if commits.names(entity)] or listening
    knowing = _knowing({id(commits.sync): commits for commits in theirs}.values(), entity, ids)
    if tags is not None:
        canonical_tags(tags)  # what is refused leaves no transaction begun
    if not own.in_transaction():
        own.begin()
    for commits in knowing:
        commits.say(own, entity, ids, tags)


class _Open:
    """What the open transaction of a session has changed so far."""

    def __init__(self, session: Session, is_watched: Callable[[type], bool]) -> None:
        self._session = session
        self._is_watched = is_watched
        self.pending = Pending()
        self.has_executed = False  # a statement that changes a watched table
        self.leaving: set[Any] = set()  # the states of what the flush was told to delete
        self.changed: dict[Any, Held] = {}  # the states of what it found changed, and what they held

    def has_changed(self) -> bool:
        session = self._session
        if not session.in_transaction():
            return False
        if self.pending or self.has_executed:
            return True
        dirty = (one for one in session.dirty if session.is_modified(one))
        return any(self._is_watched(type(one)) for one in (*session.new, *session.deleted, *dirty))


class _Commits:
    """What the events of a watched session lead to."""

    def __init__(self, sync: Notifying, classes: Mapping[type, Watched]) -> None:
        self.sync = sync
        self._classes = classes
        self._warned: set[tuple[type, str]] = set()
        self._telling = Telling(sync)
        self._has_flushed = False

    def names(self, entity: str) -> bool:
        """Whether rows of these classes are keys of this entity."""
        return any(watched.entity == entity for watched in self._classes.values())

    def say(
        self, session: Session, entity: str, ids: Iterable[object], tags: Mapping[str, Any] | None
    ) -> None:
        for id in ids:
            self._open(session).pending.add(place_of(session), entity, id, tags)

    def created(self, session: Session, transaction: Any) -> None:
        if transaction.parent is None:
            self._open(session)

    def flushing(self, session: Session, _context: object, _objects: object) -> None:
        if not self._has_flushed:
            self._has_flushed = True
            with suppress(NoReferenceError):  # of a table that is not there: the flush itself says so
                warn_of_cascades(self._classes)
        found = self._open(session)
        found.changed = {}
        for changed in session.dirty:
            watched = self._watched(type(changed))
            if watched is not None and session.is_modified(changed):
                with suppress(Exception):  # it is asked for again, and then the log says what is wrong
                    found.changed[inspected(changed)] = held(changed, watched)
        # what is not loaded of a deleted object cannot be asked for once it is deleted
        found.leaving = {inspected(changed) for changed in session.deleted}
        for state in found.leaving:
            self._gather(session, state.object)

    def deleted(self, session: Session, changed: Any) -> None:
        # orphans are found during the flush
        if inspected(changed) not in self._open(session).leaving:
            self._gather(session, changed)

    def flushed(self, session: Session, _context: object) -> None:
        for changed in session.new:
            self._gather(session, changed, is_new=True)
        known = self._open(session).changed
        for changed in session.dirty:
            # what neither tells was changed by the flush itself, or by an event after ours
            before = known.get(inspected(changed))
            if before is not None or session.is_modified(changed) or is_written(changed):
                self._gather(session, changed, before, is_flushed=True)

    def _gather(
        self,
        session: Session,
        changed: Any,
        before: Held | None = None,
        *,
        is_new: bool = False,
        is_flushed: bool = False,
    ) -> None:
        watched = self._watched(type(changed))
        if watched is None:
            return
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
        except Exception:  # noqa: BLE001 - whoever flushes is not to blame
            _log.exception("a change of %s will not be told: its id is not known", type(changed).__qualname__)

    def committed(self, session: Session) -> None:
        self._open(session).pending.commit(place_of(session))

    def ended(self, session: Session, transaction: Any) -> None:
        if transaction.parent is not None:
            if transaction.nested:
                self._open(session).pending.end(transaction, outer_of(transaction))
            return
        over = self._open(session)
        transactions.ended(over)
        del session.info[self]
        for (entity, tags), ids in over.pending.take(transaction):
            self._telling.tell(entity, ids, tags)

    def _open(self, session: Session) -> _Open:
        found: _Open | None = session.info.get(self)
        if found is None:
            found = session.info[self] = _Open(session, self._is_watched)
        transactions.begun(found)  # wherever it goes on, in another task or thread too
        return found

    def executing(self, state: Any) -> None:
        for verb, table in changes(state):
            for kind in self._classes:
                if has_table(kind, table):
                    self._open(state.session).has_executed = True
                    self._warn_of(verb, kind)

    def _warn_of(self, verb: str, kind: type) -> None:
        if (kind, verb) in self._warned:
            return
        self._warned.add((kind, verb))
        _log.warning(
            "%s of %s by a statement: which keys it changes is not known, so none is notified; say them "
            "by notify_after_commit(session, ...)",
            verb,
            kind.__qualname__,
        )

    def _is_watched(self, kind: type) -> bool:
        return self._watched(kind) is not None

    def _watched(self, kind: type) -> Watched | None:
        return next((self._classes[one] for one in kind.__mro__ if one in self._classes), None)


def _knowing(listening: Iterable[_Commits], entity: str, ids: Sequence[object]) -> list[_Commits]:
    """Those that know the entity.

    Raises:
        UnknownEntity, BadId, TypeError: nobody does, or no notify can be of these ids.
    """
    if not ids:
        raise TypeError("notify needs at least one id")
    found: list[_Commits] = []
    unknown: UnknownEntity | None = None
    for commits in listening:
        try:
            if isinstance(commits.sync, _Checking):
                commits.sync.keys_of(entity, ids)
            found.append(commits)
        except UnknownEntity as error:
            unknown = error
    if unknown is not None and not found:
        raise unknown
    return found


def _listening(session: Any) -> list[_Commits]:
    owners = [getattr(listener, "__self__", None) for listener in session.dispatch.after_flush]
    return [owner for owner in owners if isinstance(owner, _Commits)]
