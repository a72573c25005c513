"""The states of a subscription as output: the rows whole, or what differs from the state before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from entity_sync.cli.output import Output, printable
from entity_sync.client import Row, State

__all__ = ["show"]

_MOST = 10  # keys in the line that tells a new order


def show(before: State, state: State, output: Output) -> None:
    """Write a state.

    Args:
        before: the state that was written last.
    """
    whole = [_line(row, row.data) for row in state.rows]
    members = {"rows": [_named(row, data=row.data) for row in state.rows], "version": state.version}
    if state.is_denied:
        output.event("denied", why="this secret may not see it, or it is no longer valid")
    elif state.is_stale:
        news = whole if state.rows != before.rows else []
        output.event("stale", [str(state.stale_reason), *news], why=state.stale_reason, **members)
    elif state.is_gone:
        output.event("gone", ["there is no such key"], version=state.version)
    elif before.version is None or before.is_stale or before.is_gone or before.is_denied:
        output.event("snapshot", whole or ["no rows"], **members)
    else:
        _show_change(before.rows, state.rows, output, members)


def _show_change(before: Sequence[Row], rows: Sequence[Row], output: Output, members: dict[str, Any]) -> None:
    held, now = _by_key(before), _by_key(rows)
    dropped = [row for key, row in held.items() if key not in now]
    lines = [output.coloured(f"- {_key(row)}", "red") for row in dropped]
    changed: list[dict[str, Any]] = []
    for key, row in now.items():
        if key not in held:
            changed.append(_named(row, data=row.data))
            lines.append(output.coloured(f"+ {_line(row, row.data)}", "green"))
        elif _line(row, row.data) != _line(row, held[key].data):  # to Python 1 equals True
            fields = _fields(held[key].data, row.data)
            changed.append(_named(row, data=row.data) if fields is None else _named(row, set=fields))
            lines.append(output.coloured(f"~ {_line(row, fields or row.data)}", "yellow"))
    order: list[Row] = []
    if [key for key in held if key in now] != [key for key in now if key in held]:
        order = list(rows)
        lines.append(_order(order))
    named = {"dropped": [_named(row) for row in dropped], "order": [_named(row) for row in order]}
    output.event("change", lines, **members, changed=changed, **named)


def _order(rows: Sequence[Row]) -> str:
    left = len(rows) - _MOST
    return " ".join(["order", *map(_key, rows[:_MOST]), *([f"… and {left:,} more"] if left > 0 else [])])


def _fields(before: Any, data: Any) -> dict[str, Any] | None:
    """The members of an object that differ; None where only the whole tells it."""
    if not (isinstance(before, dict) and isinstance(data, dict) and before.keys() <= data.keys()):
        return None
    encode = msgspec.json.encode
    return {
        name: value for name, value in data.items()
        if name not in before or encode(before[name]) != encode(value)
    }  # fmt: skip


def _by_key(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row.entity, row.id): row for row in rows}


def _named(row: Row, **members: Any) -> dict[str, Any]:
    return {"entity": row.entity, "id": row.id, **members}


def _line(row: Row, data: Any) -> str:
    return f"{_key(row)} {printable(msgspec.json.encode(data).decode())}"


def _key(row: Row) -> str:
    key = printable(f"{row.entity}/{row.id}")
    return f"'{key}'" if " " in key else key
