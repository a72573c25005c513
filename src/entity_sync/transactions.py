"""Transactions that are known to have changed something and not to have committed yet."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

__all__ = ["begun", "ended", "warn_inside"]

_log = logging.getLogger("entity_sync.notify")

_open: ContextVar[WeakSet[Any] | None] = ContextVar("entity_sync_open_transactions", default=None)


def begun(session: object) -> None:
    """In this task or thread a session has changed something."""
    sessions = _open.get()
    if sessions is None:
        sessions = WeakSet()
        _open.set(sessions)
    sessions.add(session)


def ended(session: object) -> None:
    """It has committed, or rolled back."""
    sessions = _open.get()
    if sessions is not None:
        sessions.discard(session)


def warn_inside(entity: str, *, debug: bool) -> None:
    """In debug mode, log that a notify overtakes the commit it is about."""
    if (debug or sys.flags.dev_mode) and _open.get():
        _log.warning(
            "notify of %s inside an open transaction: views are loaded before it commits, and stay old; "
            "notify after the commit, or leave it to notify_on_commit",
            entity,
        )
