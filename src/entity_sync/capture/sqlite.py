"""SQLite: every commit of another connection, of whichever process, is noticed.

``PRAGMA data_version`` changes its value on a connection exactly when some other connection has
committed (sqlite.org, pragma data_version), so one connection that asks and never writes sees
them all, at a few microseconds a question. It says that something changed, not what: the views
are loaded again, and only those that differ are sent.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Collection
from contextlib import closing
from math import inf
from pathlib import Path

from entity_sync.clock import Clock
from entity_sync.errors import ConfigurationError

__all__ = ["SQLiteCapture"]

_log = logging.getLogger("entity_sync.capture")
_RETRY = 1.0  # seconds between tries to open a database that is not there


class SQLiteCapture:
    """Watches one database file.

    Attributes:
        entities: what is loaded from it; None for all of the application's entities.
    """

    def __init__(
        self,
        database: str | os.PathLike[str],
        *,
        interval: float = 0.1,
        entities: Collection[str] | None = None,
    ) -> None:
        """
        Args:
            database: the file; it may appear later, and be replaced.
            interval: seconds between two looks, hence the longest time a commit goes unnoticed.
            entities: as the attribute. `EntitySync` refuses at its start a name that it does not know.

        Raises:
            ConfigurationError: a database in memory, which no other connection can change; or entities is a
                str.
        """
        self._path = Path(database)
        if str(database) in ("", ":memory:"):
            raise ConfigurationError(
                "a SQLite database in memory has no other connections: capture needs a file"
            )
        if not 0 < interval < inf:
            raise ConfigurationError(f"interval must be positive and finite, not {interval!r}")
        if isinstance(entities, str):
            raise ConfigurationError(f"entities is a list: entities=[{entities!r}]")
        self._interval = interval
        self.entities = entities

    async def watch(self, clock: Clock) -> AsyncIterator[Collection[str] | None]:
        """`Capture.watch`: yields once after each stretch of commits, and after each reopening."""
        is_first, was_reported = True, False
        while True:
            try:
                inode = self._inode()  # before it is opened: a file that takes its place meanwhile is found
                with closing(self._open()) as connection:
                    seen = _data_version(connection)
                    was_reported = False
                    if not is_first:
                        yield self.entities
                    is_first = False
                    while self._inode() == inode:
                        await clock.sleep(self._interval)
                        version = _data_version(connection)
                        if version not in (None, seen):
                            seen = version
                            yield self.entities
            except (sqlite3.Error, OSError) as error:
                is_first = False
                if not was_reported:
                    _log.warning("cannot watch %s: %s; trying again every %g s", self._path, error, _RETRY)
                    was_reported = True
                await clock.sleep(_RETRY)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=0, isolation_level=None
        )

    def _inode(self) -> int:
        return self._path.stat().st_ino


def _data_version(connection: sqlite3.Connection) -> int | None:
    """None while a writer has the file for itself: nothing new can be read then either."""
    try:
        row: tuple[int] = connection.execute("PRAGMA data_version").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return None
    return row[0]
