"""What a session's last transaction told, so that whoever committed it can have its receipt."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakSet, ref

from sqlalchemy.orm import Session

from entity_sync.model import Receipt

__all__ = ["Outer", "Told"]

_KEPT = "entity_sync.told"


class Outer(Protocol):
    """What somebody else does with a connection."""

    def is_in_transaction(self) -> bool:
        """Whether one is open, or begun anew."""
        ...


class Told:
    """The notifies of one transaction, of all that listen to its session.

    A session keeps that of its last transaction that changed anything, and so no more than one future for
    each call of `notify_on_commit`.

    Attributes:
        token: names these notifies.
    """

    def __init__(self, transaction: object) -> None:
        self.token = uuid4().hex
        self._transaction = ref(transaction)  # which holds a connection
        self._futures: list[Future[Any]] = []
        self._waiting: WeakSet[Outer] = WeakSet()  # so that what is lost is not waited for

    @classmethod
    def of(cls, session: Session, transaction: object) -> Told:
        """What is told of this transaction, from now on the last one of this session."""
        last: Told | None = session.info.get(_KEPT)
        if last is None or last._transaction() is not transaction:
            last = session.info[_KEPT] = cls(transaction)
        return last

    @classmethod
    def last(cls, session: Session) -> Told:
        """What was told of its last transaction that changed anything, committed or not."""
        found: Told | None = session.info.get(_KEPT)
        return found or cls(session)

    @property
    def is_waiting(self) -> bool:
        """Whether something may be told of it yet."""
        # a transaction may end without a word, where its COMMIT is not even sent
        return any(outer.is_in_transaction() for outer in self._waiting)

    def wait_for(self, outer: Outer) -> None:
        """More is told, or nothing, when this transaction is over."""
        self._waiting.add(outer)

    def wait_no_longer_for(self, outer: Outer) -> None:
        """It is."""
        self._waiting.discard(outer)

    def add(self, told: Future[Any] | None, token: str) -> None:
        """This notify of all that changed is one of them, and those under another token count no more.

        Args:
            told: its receipt, if it has one.
        """
        if token != self.token:
            self.token, self._futures = token, []
        if told is not None:
            self._futures.append(told)

    def receipt(self) -> Future[Receipt | None]:
        """What became of all of them; None where there is none, or none succeeded."""
        result: Future[Receipt | None] = Future()
        result.set_running_or_notify_cancel()  # who waits no longer cancels no notify
        _collect(iter(self._futures), [], result)
        return result


def _collect(futures: Iterator[Future[Any]], found: list[Receipt], result: Future[Receipt | None]) -> None:
    def go_on(done: Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None and isinstance(done.result(), Receipt):
            found.append(done.result())
        _collect(futures, found, result)

    if (waiting := next(futures, None)) is not None:
        waiting.add_done_callback(go_on)
    else:
        result.set_result(max(found, key=lambda receipt: receipt.status == "deferred", default=None))
