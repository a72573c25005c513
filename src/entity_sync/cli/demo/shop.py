"""The bakery's database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["STATUSES", "Shop"]

STATUSES = ("ordered", "baking", "ready", "sold")
_T = TypeVar("_T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY,
    customer TEXT NOT NULL,
    item TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity BETWEEN 0 AND 999),
    status TEXT NOT NULL DEFAULT 'ordered',
    note TEXT NOT NULL DEFAULT ''
)
"""
_ROWS = (
    (1, "Amara", "Rye sourdough", 2, "ready", ""),
    (2, "Bruno", "Cinnamon knots", 12, "baking", "for the morning train"),
    (3, "Chiara", "Olive focaccia", 3, "ordered", "no rosemary, please"),
    (4, "Dev", "Poppy seed rolls", 24, "baking", ""),
    (5, "Elif", "Lemon tart", 1, "sold", "with a candle"),
    (6, "Farid", "Oat biscuits", 30, "ordered", ""),
)


class Shop:
    """Reads and writes orders; a connection for each call, so that every read is a new one."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: the database file; made and filled if it has no orders.
        """
        self.path = path
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)
            if connection.execute("SELECT count(*) FROM orders").fetchone() == (0,):
                connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", _ROWS)

    async def order(self, id: int) -> dict[str, Any] | None:
        """One order as it stands now."""

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

        if await self._with(write) == 0:
            raise ValueError("this order no longer exists")

    async def _with(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def run() -> _T:
            with closing(self._connect()) as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=5.0, isolation_level=None)
