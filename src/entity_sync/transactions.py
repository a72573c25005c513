"""Transactions that may have changed something and have not committed yet."""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet

__all__ = ["Transaction", "begun", "committed", "ended", "warn_inside"]

_log = logging.getLogger("entity_sync.notify")


class Transaction(Protocol):
    """One of a session."""

    def has_changed(self) -> bool:
        """Whether it is open and has changed something, or is about to."""
        ...


# Never changed in place: a task that was started inside shares what it inherited.
_open: ContextVar[WeakSet[Transaction]] = ContextVar("entity_sync_open_transactions")


def begun(transaction: Transaction) -> None:
    """In this task or thread there is a transaction."""
    known = _open.get(None)
    if known is None or transaction not in known:
        _open.set(WeakSet([*(known or ()), transaction]))


def ended(transaction: Transaction) -> None:
    """It has committed, or rolled back."""
    known = _open.get(None)
    if known is not None and transaction in known:
        _open.set(WeakSet(one for one in known if one is not transaction))


@contextmanager
def committed() -> Generator[None]:
    """What is notified in here has committed, whatever else is open."""
    known = _open.set(WeakSet())
    try:
        yield
    finally:
        _open.reset(known)


def warn_inside(entity: str, *, debug: bool) -> None:
    """In debug mode, log that a notify overtakes the commit it is about."""
    if (debug or sys.flags.dev_mode) and any(one.has_changed() for one in _open.get(())):
        _log.warning(
            "notify of %s inside an open transaction: views are loaded before it commits, and stay old; "
            "notify after the commit, or leave it to notify_on_commit",
            entity,
        )
