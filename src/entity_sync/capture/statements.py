"""Statements that change tables without the unit of work: what they do, and to which table."""

from __future__ import annotations

import re
import sys
from types import FrameType
from typing import Any, NamedTuple

from sqlalchemy import inspect as inspected
from sqlalchemy.sql.elements import TextClause

__all__ = ["Statement", "calling_line", "changes", "has_table"]

_PART = r"""(?:[\w$]+|"[^"]+"|`[^`]+`|\[[^\]]+\])"""
_WORDS = r"or\s+\w+|ignore|low_priority|high_priority|delayed|quick|into|from|table|only"
_VERB = re.compile(
    rf"""\b(insert|replace|merge|update|delete|truncate)\s+(?:(?:{_WORDS})\s+)*(?!set\b)
    (?:{_PART}\s*\.\s*)*({_PART})""",
    re.IGNORECASE | re.VERBOSE,
)
_BETWEEN = {"sqlalchemy", "sqlmodel", "entity_sync", "asyncio"}  # an application's line and the event
_SILENT = re.compile(r"""("[^"]*"|`[^`]*`)|'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/""", re.DOTALL)


class Statement(NamedTuple):
    """One that changed rows of a watched class.

    Attributes:
        verb: what it does.
        kind: the class.
        line: where the application executes it.
    """

    verb: str
    kind: type
    line: str


def calling_line() -> str:
    """The line of the application that has led here, as ``file:number``."""
    frame: FrameType | None = sys._getframe(1)
    greenlet: Any = getattr(sys.modules.get("greenlet"), "getcurrent", lambda: None)()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame = frame.f_back
        while frame is None and greenlet is not None:  # an async session runs in one of its own
            greenlet = greenlet.parent
            frame = getattr(greenlet, "gr_frame", None)
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


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
