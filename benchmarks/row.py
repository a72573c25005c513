"""The row that is measured: it carries its number and the time of its notify.

All of a row changes with its number, so that what is sent is always about as long as the row.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["FIRST", "NewRow", "read_row", "row"]

FIRST = 1_000_000  # numbers begin here, so that all rows have one size
_MEMBERS = re.compile(rb'"at":(\d+),"key":"([^"]*)/(\d+)"')


class NewRow(NamedTuple):
    """What a reader was shown.

    Attributes:
        at: `time.perf_counter_ns` of the notify, one clock for all processes of a machine.
        id: of the item.
        n: which state it is.
    """

    at: int
    id: str
    n: int


def row(id: str, n: int, at: int, size: int) -> dict[str, object]:
    """A row whose JSON has ``size`` bytes; its members are in canonical order."""
    pad = max(0, size - 25 - len(str(at)) - len(id) - len(str(n)))
    return {"at": at, "key": f"{id}/{n}", "pad": "xy"[n % 2] * pad}


def read_row(message: bytes) -> NewRow:
    """Find the row in a frame or a message of either wire.

    Raises:
        RuntimeError: there is none.
    """
    found = _MEMBERS.search(message, 0, 1_000)
    if found is None:
        raise RuntimeError(f"no row in {message[:200]!r}")
    return NewRow(int(found[1]), found[2].decode(), int(found[3]))
