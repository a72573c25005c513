"""Which plain session of SQLAlchemy is meant, and where in its transactions it is."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from entity_sync.errors import ConfigurationError

__all__ = ["outer_of", "own_session", "place_of", "session_target"]

# Async sessions are known by their attributes: their module cannot be imported where greenlet is missing.


def own_session(session: Any) -> Session:
    """The plain session in an async one, and in a scoped one that of this thread or task."""
    session = session() if hasattr(session, "session_factory") else session
    own: Session = getattr(session, "sync_session", session)
    return own


def session_target(sessions: Any) -> type[Session] | Session:
    """The class or session whose events are those of these sessions.

    Raises:
        ConfigurationError: they are no sessions, and make none.
    """
    sessions = getattr(sessions, "session_factory", sessions)  # of a scoped session
    if isinstance(sessions, sessionmaker):
        return sessions.class_
    if hasattr(sessions, "kw"):
        return _of_async_sessionmaker(sessions)
    sessions = getattr(
        sessions, "sync_session_class" if isinstance(sessions, type) else "sync_session", sessions
    )
    if isinstance(sessions, Session) or (isinstance(sessions, type) and issubclass(sessions, Session)):
        return sessions
    raise ConfigurationError(f"{sessions!r} makes no sessions of SQLAlchemy, and is none")


def _of_async_sessionmaker(sessions: Any) -> type[Session]:
    own: type[Session] = sessions.kw.get("sync_session_class", sessions.class_.sync_session_class)
    target = type(own.__name__, (own,), {})
    sessions.configure(sync_session_class=target)
    return target


def place_of(session: Session) -> Any:
    """The savepoint or transaction that what happens now belongs to."""
    return session.get_nested_transaction() or session.get_transaction()


def outer_of(transaction: Any) -> Any:
    """The savepoint or transaction around this one."""
    outer = transaction.parent
    while outer.parent is not None and not outer.nested:
        outer = outer.parent
    return outer
