"""The bakery's tables, and what stands in them at first."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

from entity_sync.errors import ConfigurationError

__all__ = ["STATUSES", "prepare"]

STATUSES = ("ordered", "baking", "ready", "sold")

_COLUMNS = {
    "orders": """
        id INTEGER PRIMARY KEY,
        customer TEXT NOT NULL,
        item TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'ordered' CHECK (status IN ('ordered', 'baking', 'ready', 'sold')),
        quantity INTEGER NOT NULL CHECK (quantity BETWEEN 0 AND 999),
        note TEXT NOT NULL DEFAULT '',
        updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))""",
    "users": """
        id INTEGER PRIMARY KEY,
        login TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        branch TEXT NOT NULL""",
    "reports": """
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        body TEXT NOT NULL,
        author_id INTEGER NOT NULL""",
    "cakes": """
        id INTEGER PRIMARY KEY,
        branch TEXT NOT NULL,
        name TEXT NOT NULL,
        pieces INTEGER NOT NULL CHECK (pieces BETWEEN 0 AND 999)""",
    "recipes": """
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        body TEXT NOT NULL,
        owner TEXT NOT NULL,
        is_shared INTEGER NOT NULL DEFAULT 0""",
}
# It dates a change from the sqlite3 program too.
_TRIGGER = """
CREATE TRIGGER orders_updated AFTER UPDATE OF customer, item, status, quantity, note ON orders
BEGIN
    UPDATE orders SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = NEW.id;
END
"""
_ROWS: dict[str, tuple[str, tuple[tuple[object, ...], ...]]] = {
    "orders": (
        "INSERT INTO orders (id, customer, item, status, quantity, note) VALUES (?, ?, ?, ?, ?, ?)",
        (
            (1, "Amara", "Rye sourdough", "ready", 2, ""),
            (2, "Bruno", "Cinnamon knots", "baking", 12, "for the morning train"),
            (3, "Chiara", "Olive focaccia", "ordered", 3, "no rosemary, please"),
            (4, "Dev", "Poppy seed rolls", "baking", 24, ""),
            (5, "Elif", "Lemon tart", "sold", 1, "with a candle"),
            (6, "Farid", "Oat biscuits", "ordered", 30, ""),
        ),
    ),
    "users": (
        "INSERT INTO users (id, login, name, branch) VALUES (?, ?, ?, ?)",
        ((1, "nadia", "Nadia", "north"), (2, "sami", "Sami", "south")),
    ),
    "reports": (
        "INSERT INTO reports (id, title, body, author_id) VALUES (?, ?, ?, ?)",
        (
            (1, "Rye is back", "The new flour takes more water. Two batches a day are sold by noon.", 1),
            (2, "Ovens on Sunday", "One oven is enough until nine; the second one only warms the cat.", 1),
            (3, "Market stall", "Knots went first. Take twice as many, and a sign for the price.", 2),
        ),
    ),
    "cakes": (
        "INSERT INTO cakes (id, branch, name, pieces) VALUES (?, ?, ?, ?)",
        (
            (1, "north", "Apple strudel", 8),
            (2, "north", "Carrot cake", 5),
            (3, "north", "Plum tart", 12),
            (4, "south", "Almond torte", 6),
            (5, "south", "Cheesecake", 10),
            (6, "south", "Semolina slice", 9),
        ),
    ),
    "recipes": (
        "INSERT INTO recipes (id, title, body, owner) VALUES (?, ?, ?, ?)",
        ((1, "Grandmother’s rye", "Feed the starter at six, fold twice, and bake it dark.", "nadia"),),
    ),
}


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables that are missing, and fill those that are empty.

    Raises:
        ConfigurationError: one of them is another application's; nothing was changed.
    """
    _missing(connection)
    # Several nodes may begin with the same new file. SQLite does not wait to change the mode.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for table in _missing(connection):
        connection.execute(f"CREATE TABLE {table} ({_COLUMNS[table]})")
        if table == "orders":
            connection.execute(_TRIGGER)
    for table, (insert, rows) in _ROWS.items():
        count = f"SELECT count(*) FROM {table}"  # noqa: S608 - a name from above
        if connection.execute(count).fetchone() == (0,):
            connection.executemany(insert, rows)
    connection.execute("COMMIT")


def _missing(connection: sqlite3.Connection) -> list[str]:
    """The tables that are not there; raises ConfigurationError if one is not the bakery's."""
    missing: list[str] = []
    for table, columns in _COLUMNS.items():
        found = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
        if not found:
            missing.append(table)
        elif found != [line.split()[0] for line in columns.strip().splitlines()]:
            raise ConfigurationError(f"this database has {table} of another application: choose another file")
    return missing
