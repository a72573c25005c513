"""Statements that change tables without the unit of work: what they do, and to which table."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import inspect as inspected
from sqlalchemy.sql.elements import TextClause

__all__ = ["changes", "has_table"]

_PART = r"""(?:[\w$]+|"[^"]+"|`[^`]+`|\[[^\]]+\])"""
_WORDS = r"or\s+\w+|ignore|low_priority|high_priority|delayed|quick|into|from|table|only"
_VERB = re.compile(
    rf"""\b(insert|replace|merge|update|delete|truncate)\s+(?:(?:{_WORDS})\s+)*(?!set\b)
    (?:{_PART}\s*\.\s*)*({_PART})""",
    re.IGNORECASE | re.VERBOSE,
)
_SILENT = re.compile(r"""("[^"]*"|`[^`]*`)|'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/""", re.DOTALL)


def changes(state: Any) -> list[tuple[str, Any]]:
    """The verbs and tables of what a session executes; none if it changes nothing.

    Text is no more than looked at: each verb outside comments and strings, and the name after it.

    Args:
        state: an ``ORMExecuteState``.
    """
    if isinstance(state.statement, TextClause):
        text = _SILENT.sub(lambda found: found[1] or " ", state.statement.text)
        return [(verb.upper(), name.strip('"`[]').lower()) for verb, name in _VERB.findall(text)]
    verbs = {"UPDATE": state.is_update, "DELETE": state.is_delete, "INSERT": state.is_insert}
    return [(verb, state.statement.table) for verb, is_it in verbs.items() if is_it]


def has_table(kind: type, table: Any) -> bool:
    """Whether rows of this class, or of a class that inherits from it, are in this table."""
    mapper: Any = inspected(kind)
    tables = [one for each in mapper.self_and_descendants for one in each.tables]
    if isinstance(table, str):
        return any(getattr(one, "name", "").lower() == table for one in tables)
    return table in tables
