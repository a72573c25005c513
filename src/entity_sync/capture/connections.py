"""What becomes of the changes of a session, as far as its connections tell."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from sqlalchemy.engine import Connection, TwoPhaseTransaction

from entity_sync.capture.ledgers import Ledger, ledger_of, tell_all
from entity_sync.capture.pending import Pending
from entity_sync.capture.telling import Changed, Telling
from entity_sync.capture.told import Told

__all__ = ["Connections"]


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

    def tell(self, pending: Pending, place: Hashable, telling: Telling, told: Told) -> None:
        """The transaction is over: tell what it committed, or may have, since its COMMIT had begun.

        What is in somebody else's transaction is told when that commits.
        """
        is_unsure = not pending.is_committed(place)
        if is_unsure and any(use.may_have_committed() for use in self._uses):
            pending.commit(place)
        changed = list(pending.take(place))
        if not changed:
            return
        others = [use for use in self._uses if use.is_in_transaction()]
        for use in others:
            use.hold(telling, changed, told)
        if not self._uses or others != self._uses:
            tell_all(changed, telling, told.token, [told], is_unsure=is_unsure)


class _Use:
    """One connection in one transaction of a session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # the savepoint or transaction that the session has begun, or has joined
        self._transaction = connection.get_nested_transaction() or connection.get_transaction()
        self._ledger: Ledger | None = None
        self._commits = 0

    def watch(self) -> None:
        self._ledger = ledger_of(self._connection)
        is_two_phase = isinstance(self._connection.get_transaction(), TwoPhaseTransaction)
        self._ledger.hear(self._connection, "commit_twophase" if is_two_phase else "commit")
        self._commits = self._ledger.commits

    def may_have_committed(self) -> bool:
        """Whether a COMMIT was begun, or a session that is closed leaves its changes to others."""
        has_begun = self._ledger is not None and self._ledger.commits > self._commits
        return has_begun or (self._transaction is not None and self._transaction.is_active)

    def is_in_transaction(self) -> bool:
        return self._connection.in_transaction() and not _commits_by_itself(self._connection)

    def hold(self, telling: Telling, changed: Sequence[Changed], told: Told) -> None:
        ledger_of(self._connection).hold(self._connection, telling, changed, told)


def _commits_by_itself(connection: Connection) -> bool:
    level = connection.get_execution_options().get("isolation_level")
    return (level or getattr(connection.dialect, "_on_connect_isolation_level", None)) == "AUTOCOMMIT"
