"""Statements that change tables without the unit of work: what they do, and to which table."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import inspect as inspected
from sqlalchemy.sql.elements import TextClause

__all__ = ["has_table", "statement"]

_TEXT = re.compile(
    r"""\b(?:(insert)(?:\s+(?:or\s+)?\w+)?\s+into|(replace)\s+into|(update)(?:\s+or\s+\w+)?(?:\s+only)?
    |(delete)\s+from(?:\s+only)?)\s+([\w.$"`\[\]]+)""",
    re.IGNORECASE | re.VERBOSE,
)


def statement(state: Any) -> tuple[str, Any] | None:
    """The verb and the table (of text, its name) of what a session executes, or None if it changes none.

    Args:
        state: an ``ORMExecuteState``.
    """
    if isinstance(state.statement, TextClause):
        found = _TEXT.search(state.statement.text)
        if found is None:
            return None
        verb = next(word for word in found.groups() if word)
        return verb.upper(), found[5].split(".")[-1].strip('"`[]').lower()
    verbs = {"UPDATE": state.is_update, "DELETE": state.is_delete, "INSERT": state.is_insert}
    verb = next((verb for verb, is_it in verbs.items() if is_it), None)
    return None if verb is None else (verb, state.statement.table)


def has_table(kind: type, table: Any) -> bool:
    """Whether rows of this class, or of a class that inherits from it, are in this table."""
    mapper: Any = inspected(kind)
    tables = [one for each in mapper.self_and_descendants for one in each.tables]
    if isinstance(table, str):
        return any(getattr(one, "name", "").lower() == table for one in tables)
    return table in tables
