"""The bakery's database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, TypeVar

from entity_sync.errors import ConfigurationError

__all__ = ["STATUSES", "Shop"]

STATUSES = ("ordered", "baking", "ready", "sold")
_COLUMNS = ["id", "customer", "item", "status", "quantity", "note", "updated_at"]
_T = TypeVar("_T")

_TABLE = """
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer TEXT NOT NULL,
    item TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'ordered',
    quantity INTEGER NOT NULL CHECK (quantity BETWEEN 0 AND 999),
    note TEXT NOT NULL DEFAULT '',
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
"""
# It dates a change from the sqlite3 program too.
_TRIGGER = """
CREATE TRIGGER orders_updated AFTER UPDATE OF customer, item, status, quantity, note ON orders
BEGIN
    UPDATE orders SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = NEW.id;
END
"""
_ROWS = (
    (1, "Amara", "Rye sourdough", "ready", 2, ""),
    (2, "Bruno", "Cinnamon knots", "baking", 12, "for the morning train"),
    (3, "Chiara", "Olive focaccia", "ordered", 3, "no rosemary, please"),
    (4, "Dev", "Poppy seed rolls", "baking", 24, ""),
    (5, "Elif", "Lemon tart", "sold", 1, "with a candle"),
    (6, "Farid", "Oat biscuits", "ordered", 30, ""),
)


class Shop:
    """Reads and writes orders; a connection for each call, so that every read is a new one."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: the database file; made and filled if it has no orders.

        Raises:
            ConfigurationError: the file is no database, or its orders are not this bakery's.
        """
        self.path = path.absolute()
        try:
            with closing(self._connect()) as connection:
                _prepare(connection)
        except sqlite3.Error as error:
            raise ConfigurationError(f"cannot use the database {path}: {error}") from error

    async def order(self, id: int) -> dict[str, Any] | None:
        """One order as it stands now."""
        if not _is_rowid(id):
            return None

        def read(connection: sqlite3.Connection) -> dict[str, Any] | None:
            connection.row_factory = sqlite3.Row
            row = connection.execute("SELECT * FROM orders WHERE id = ?", (id,)).fetchone()
            return None if row is None else dict(row)

        return await self._with(read)

    async def set_quantity(self, id: int, quantity: int) -> None:
        """Raises ValueError outside 0 to 999."""
        if not 0 <= quantity <= 999:
            raise ValueError("a quantity is 0 to 999")
        await self._update("UPDATE orders SET quantity = ? WHERE id = ?", quantity, id)

    async def set_status(self, id: int, status: str) -> None:
        """Raises ValueError for a status that the bakery does not know."""
        if status not in STATUSES:
            raise ValueError(f"a status is one of {', '.join(STATUSES)}")
        await self._update("UPDATE orders SET status = ? WHERE id = ?", status, id)

    async def set_note(self, id: int, note: str) -> None:
        """Raises ValueError beyond 80 characters."""
        if len(note) > 80:
            raise ValueError("a note has 80 characters at most")
        await self._update("UPDATE orders SET note = ? WHERE id = ?", note, id)

    async def _update(self, statement: str, value: object, id: int) -> None:
        def write(connection: sqlite3.Connection) -> int:
            return connection.execute(statement, (value, id)).rowcount

        if not _is_rowid(id) or await self._with(write) == 0:
            raise ValueError("this order no longer exists")

    async def _with(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def run() -> _T:
            with closing(self._connect()) as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=5.0, isolation_level=None)  # the busy timeout
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def _prepare(connection: sqlite3.Connection) -> None:
    _check(connection)
    # Several nodes may begin with the same new file. SQLite does not wait to change the mode.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not _check(connection):
        connection.execute(_TABLE)
        connection.execute(_TRIGGER)
    if connection.execute("SELECT count(*) FROM orders").fetchone() == (0,):
        insert = "INSERT INTO orders (id, customer, item, status, quantity, note) VALUES (?, ?, ?, ?, ?, ?)"
        connection.executemany(insert, _ROWS)
    connection.execute("COMMIT")


def _check(connection: sqlite3.Connection) -> bool:
    """Whether there are orders; raises ConfigurationError if they are not a bakery's."""
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(orders)")]
    if columns and columns != _COLUMNS:
        raise ConfigurationError("this database has orders of another application: choose another file")
    return bool(columns)


def _is_rowid(id: int) -> bool:
    return -(2**63) <= id < 2**63  # SQLite has no other integers
