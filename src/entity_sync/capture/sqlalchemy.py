"""SQLAlchemy: what a session changed is notified once it has committed, and not if it rolls back.

The keys come from the unit of work (the session events ``after_flush`` and ``after_transaction_end``, see
SQLAlchemy, ORM Events). Statements that pass it by, like ``session.execute(update(User))``, are warned of,
and so are rows that the database deletes by itself; ``bulk_save_objects`` and its like, and what is executed
on a connection, pass by every event of a session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import event

from entity_sync.capture.commits import Commits, listening
from entity_sync.capture.rows import Classes, Watched, checked
from entity_sync.capture.sessions import own_session, session_target
from entity_sync.capture.telling import Checking, Notifying
from entity_sync.capture.told import Told
from entity_sync.core.tags import canonical_tags
from entity_sync.errors import ConfigurationError, UnknownEntity
from entity_sync.model import Named, Receipt, name_of

__all__ = [
    "Classes",
    "Notifying",
    "Watched",
    "notified",
    "notified_soon",
    "notify_after_commit",
    "notify_on_commit",
]


def notify_on_commit(sync: Notifying, sessions: Any, classes: Classes) -> None:
    """From now on commits of these sessions notify what they changed.

    Keys are gathered as the session flushes, and notified together, each once, when the outermost
    transaction has committed, also where that is of a connection to which the session is bound; what a
    rollback undid, also that of a savepoint, is not notified. Where a COMMIT raised or was cancelled nobody
    knows whether it took place: its keys are notified, and again two seconds later, which is a load too many
    at worst. A failure to notify, or to find out what to notify, is logged and does not disturb whoever
    commits. Several calls for the same sessions, of one ``sync`` or of several, do not disturb each other.

    Args:
        sync: what notifies.
        sessions: a ``sessionmaker``, ``async_sessionmaker``, ``scoped_session``, ``async_scoped_session``, a
            session class or one session. Of an ``async_sessionmaker``, those that it makes from now on.
        classes: mapped class → its entity, by name or handle, or how its rows are named (`Watched`); or a
            list of those, where a row is part of several entities.

    Raises:
        ConfigurationError: a class is not mapped, has several primary keys and no ``id``, or lacks an
            attribute that is named; a column of ``tags`` holds what cannot be one, for example floats; or
            the sessions are none of these. Starting `EntitySync` raises it for an entity that it does not
            know.
    """
    watched = {kind: checked(kind, how) for kind, how in classes.items()}
    target = session_target(sessions)
    if isinstance(sync, Checking):
        sync.will_notify(*(one.entity for several in watched.values() for one in several))
    commits = Commits(sync, watched)
    event.listen(target, "after_transaction_create", commits.created)
    event.listen(target, "after_begin", commits.begun)
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

    Those that a session executes and commits are warned of, once for each line that does, unless the
    transaction notifies keys of the class's entity, said here before them or after, or by objects that it
    changed: statements of the ORM, of Core on the class's table, and ``text()`` that names it.
    ``bulk_save_objects``, ``bulk_insert_mappings``, ``bulk_update_mappings`` and what is executed on a
    connection are not: a session has no event for them.

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
    all_of_them = _listening(own)
    theirs = [commits for commits in all_of_them if commits.names(entity)] or all_of_them
    knowing = _knowing({id(commits.sync): commits for commits in theirs}.values(), entity, ids)
    if tags is not None:
        canonical_tags(tags)  # what is refused leaves no transaction begun
    if not own.in_transaction():
        own.begin()
    for commits in knowing:
        commits.say(own, entity, ids, tags)


async def notified(session: Any) -> Receipt | None:
    """The receipt of what this session's commit has notified, for reading what one wrote.

    Ask it after the commit, of the session that made it, and before a scoped one is removed; it may be
    closed. One token stands for all that the transaction changed, so whatever view that concerns can be
    waited for with it. Only the last transaction that changed rows of watched classes counts; nothing is
    kept of those before it. Of a session that took part in the transaction of a connection, ask it after
    that one: its token stands for what all sessions changed in it. Where a COMMIT raised, ask once the
    session is closed or rolled back; the first state that covers the token may be from before that COMMIT,
    and the token is told again two seconds later.

    Args:
        session: one whose commits notify, sync or async, scoped or not.

    Returns:
        that of the commit, ``deferred`` if any key of it is. None where nothing was notified: the
        transaction, or that of its connection, was rolled back or lost, it changed nothing, or it could not
        be told, which the log says.

    Raises:
        ConfigurationError: nobody called `notify_on_commit` for this session.
        RuntimeError: it has changes that are not committed yet, or the connection in whose transaction they
            are has not ended that.
    """
    return await asyncio.wrap_future(notified_soon(session))


def notified_soon(session: Any) -> Future[Receipt | None]:
    """`notified` from any thread, and from code that is not async; returns at once.

    ``notified_soon(session).result(5)`` waits for it, in any thread but that of the event loop.

    Raises:
        ConfigurationError, RuntimeError: as for `notified`, and at once.
    """
    own = own_session(session)
    if any(commits.has_changed(own) for commits in _listening(own)):
        raise RuntimeError("this session has changes that are not committed: ask after the commit")
    told = Told.last(own)
    if told.is_waiting:
        raise RuntimeError("this session's connection has not committed its changes: ask after the commit")
    return told.receipt()


def _listening(session: Any) -> list[Commits]:
    """What listens to the commits of this session.

    Raises:
        ConfigurationError: nobody does.
    """
    found = listening(session)
    if not found:
        raise ConfigurationError("the commits of this session notify nothing: see notify_on_commit")
    return found


def _knowing(several: Iterable[Commits], entity: str, ids: Sequence[object]) -> list[Commits]:
    """Those that know the entity.

    Raises:
        UnknownEntity, BadId, TypeError: nobody does, or no notify can be of these ids.
    """
    if not ids:
        raise TypeError("notify needs at least one id")
    found: list[Commits] = []
    unknown: UnknownEntity | None = None
    for commits in several:
        try:
            if isinstance(commits.sync, Checking):
                commits.sync.keys_of(entity, ids)
            found.append(commits)
        except UnknownEntity as error:
            unknown = error
    if unknown is not None and not found:
        raise unknown
    return found
