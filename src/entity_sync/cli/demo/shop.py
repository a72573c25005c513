"""The bakery's database: what is read of it, and what may be changed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from entity_sync.cli.demo.schema import STATUSES, prepare
from entity_sync.errors import ConfigurationError

__all__ = ["Shop"]

_MAX_SHOWN = 100  # orders in one lane of the board
_MAX_ORDERS = 300  # that the page may add to
_T = TypeVar("_T")


class Shop:
    """Reads and writes; a connection for each call, so that every read is a new one.

    What changes something raises ValueError, in words for the page, if it may not.
    """

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: the database file; made and filled if it is new.

        Raises:
            ConfigurationError: the file is no database, or its tables are not this bakery's.
        """
        self.path = path.absolute()
        try:
            with closing(self._connect()) as connection:
                prepare(connection)
        except sqlite3.Error as error:
            raise ConfigurationError(f"cannot use the database {path}: {error}") from error

    # Orders

    async def order(self, id: int) -> dict[str, Any] | None:
        """One order as it stands now."""
        return await self._one("SELECT * FROM orders WHERE id = ?", id)

    async def orders(self, status: str) -> list[dict[str, Any]]:
        """The orders with this status by their customers' names, the first 100."""
        return await self._all(
            "SELECT id, customer, item, quantity FROM orders WHERE status = ? "
            "ORDER BY customer COLLATE NOCASE, id LIMIT ?",
            status,
            _MAX_SHOWN,
        )

    async def add_order(self, customer: str, item: str, quantity: int) -> int:
        """Returns its id; it is ``ordered``."""
        customer, item = _text("a customer", customer, 40), _text("an item", item, 60)
        _check_quantity(quantity)

        def write(connection: sqlite3.Connection) -> int | None:
            written = connection.execute(
                "INSERT INTO orders (customer, item, quantity) SELECT ?, ?, ? "
                "WHERE (SELECT count(*) FROM orders) < ?",
                (customer, item, quantity, _MAX_ORDERS),
            )
            return written.lastrowid if written.rowcount else None

        id = await self._with(write)
        if id is None:
            raise ValueError(f"the book is full: it has {_MAX_ORDERS} orders")
        return id

    async def set_quantity(self, id: int, quantity: int) -> set[str]:
        """Returns the statuses the order had and has, as all of these do."""
        _check_quantity(quantity)
        return await self._set("UPDATE orders SET quantity = ? WHERE id = ?", quantity, id)

    async def set_status(self, id: int, status: str) -> set[str]:
        """The order moves."""
        if status not in STATUSES:
            raise ValueError(f"a status is one of {', '.join(STATUSES)}")
        return await self._set("UPDATE orders SET status = ? WHERE id = ?", status, id)

    async def set_note(self, id: int, note: str) -> set[str]:
        """At most 80 characters."""
        if len(note) > 80:
            raise ValueError("a note has 80 characters at most")
        return await self._set("UPDATE orders SET note = ? WHERE id = ?", note, id)

    async def _set(self, statement: str, value: object, id: int) -> set[str]:
        def write(connection: sqlite3.Connection) -> set[str]:
            def statuses() -> set[str]:
                found = connection.execute("SELECT status FROM orders WHERE id = ?", (id,))
                return {status for (status,) in found.fetchall()}

            connection.execute("BEGIN IMMEDIATE")
            before = statuses()
            connection.execute(statement, (value, id))
            after = statuses()
            connection.execute("COMMIT")
            return before | after

        statuses = await self._with(write) if _is_rowid(id) else set()
        if not statuses:
            raise ValueError("this order no longer exists")
        return statuses

    # Users and their reports

    async def user(self, id: int) -> dict[str, Any] | None:
        """One user."""
        return await self._one("SELECT id, name, branch FROM users WHERE id = ?", id)

    async def login(self, login: str) -> dict[str, Any] | None:
        """The user with this login."""
        return await self._one("SELECT login, branch FROM users WHERE login = ?", login)

    async def rename_user(self, id: int, name: str) -> None:
        """Who wrote what stays the same."""
        name = _text("a name", name, 40)
        if not await self._change("UPDATE users SET name = ? WHERE id = ?", name, id):
            raise ValueError("there is no such user")

    async def report(self, id: int) -> dict[str, Any] | None:
        """One report, without its author's name."""
        return await self._one("SELECT * FROM reports WHERE id = ?", id)

    # What branches have, and keep to themselves

    async def cakes(self, branch: str) -> list[dict[str, Any]]:
        """What is on this branch's shelf."""
        return await self._all("SELECT id, name, pieces FROM cakes WHERE branch = ? ORDER BY name", branch)

    async def sell_cake(self, id: int, branch: str) -> None:
        """One piece of what is on this branch's shelf."""
        statement = "UPDATE cakes SET pieces = pieces - 1 WHERE id = ? AND branch = ? AND pieces > 0"
        if not await self._change(statement, id, branch):
            raise ValueError("there is none on your shelf")

    async def recipe(self, id: int) -> dict[str, Any] | None:
        """One recipe, whoever asks."""
        found = await self._one("SELECT * FROM recipes WHERE id = ?", id)
        return None if found is None else found | {"is_shared": bool(found["is_shared"])}

    async def may_read(self, login: str, recipe: int) -> bool:
        """Whether a recipe is this user's, or shared."""
        found = await self.recipe(recipe)
        return found is not None and login != "" and (found["is_shared"] or found["owner"] == login)

    async def share_recipe(self, id: int, owner: str, *, is_shared: bool) -> list[str]:
        """Returns the logins of the users whom that concerns."""
        statement = "UPDATE recipes SET is_shared = ? WHERE id = ? AND owner = ?"
        if not await self._change(statement, int(is_shared), id, owner):
            raise ValueError("only its owner may share a recipe")
        return [user["login"] for user in await self._all("SELECT login FROM users WHERE login <> ?", owner)]

    # The connection

    async def _one(self, statement: str, key: int | str) -> dict[str, Any] | None:
        if isinstance(key, int) and not _is_rowid(key):
            return None
        return next(iter(await self._all(statement, key)), None)

    async def _all(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        def read(connection: sqlite3.Connection) -> list[dict[str, Any]]:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, parameters)]

        return await self._with(read)

    async def _change(self, statement: str, *parameters: object) -> bool:
        def write(connection: sqlite3.Connection) -> bool:
            return connection.execute(statement, parameters).rowcount > 0

        return all(_is_rowid(each) for each in parameters if isinstance(each, int)) and await self._with(
            write
        )

    async def _with(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        def run() -> _T:
            with closing(self._connect()) as connection:
                return work(connection)

        return await asyncio.to_thread(run)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=5.0, isolation_level=None)  # the busy timeout
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def _text(what: str, text: str, longest: int) -> str:
    text = text.strip()
    if not 1 <= len(text) <= longest:
        raise ValueError(f"{what} has 1 to {longest} characters")
    return text


def _check_quantity(quantity: int) -> None:
    if not 0 <= quantity <= 999:
        raise ValueError("a quantity is 0 to 999")


def _is_rowid(id: int) -> bool:
    return -(2**63) <= id < 2**63  # SQLite has no other integers
